package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// speed is all rounds of one variant.
type speed struct {
	name   string
	rounds []sample
	spans  float64 // that arrived, per request
}

// footprint is what the broker needs.
type footprint struct {
	idle, full float64 // MiB resident
	firstToken []time.Duration
}

func median[T ~int64 | ~float64](all []T) T { return quantile(all, 1, 2) }

// quantile is the value below which part of whole of the values lie.
func quantile[T ~int64 | ~float64](all []T, part, whole int) T {
	s := slices.Sorted(slices.Values(all))
	return s[len(s)*part/whole]
}

// over takes one figure of every round.
func over[T any](rounds []sample, figure func(sample) T) []T {
	all := make([]T, len(rounds))
	for i, r := range rounds {
		all[i] = figure(r)
	}
	return all
}

// report prints the tables of docs/performance.md. The first speed is the one
// that the others are compared with, round by round.
func report(out io.Writer, p plan, speeds []speed, f footprint) error {
	base := speeds[0]
	_, err := fmt.Fprintf(out, "%s, %d cores, %d rounds of %v, %d connections\n\n"+
		"| variant | requests/s | of bare echo | middle half of the rounds | p50 | p99 | CPU per request | spans per request |\n"+
		"| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |\n",
		runtime.Version(), runtime.NumCPU(), p.rounds, p.duration, p.connections)
	for _, s := range speeds {
		ratios := make([]float64, len(s.rounds))
		for i, r := range s.rounds {
			ratios[i] = r.perSecond / base.rounds[i].perSecond
		}
		if err == nil {
			_, err = fmt.Fprintf(out, "| %s | %.0f | **%.2f** | %.2f to %.2f | %v | %v | %v | %.2f |\n", s.name,
				median(over(s.rounds, func(r sample) float64 { return r.perSecond })),
				median(ratios), quantile(ratios, 1, 4), quantile(ratios, 3, 4),
				median(over(s.rounds, func(r sample) time.Duration { return r.p50 })).Round(time.Microsecond),
				median(over(s.rounds, func(r sample) time.Duration { return r.p99 })).Round(10*time.Microsecond),
				median(over(s.rounds, func(r sample) time.Duration { return r.cpu })).Round(100*time.Nanosecond),
				s.spans)
		}
	}
	if err == nil {
		_, err = fmt.Fprintf(out, "\n| what | figure |\n| --- | ---: |\n"+
			"| resident memory, one account, idle | %.0f MiB |\n"+
			"| resident memory, %d accounts with 3 resources each | %.0f MiB |\n"+
			"| from start to the first token of a stored sign-in, median of %d | %v |\n",
			f.idle, p.accounts, f.full, len(f.firstToken), median(f.firstToken).Round(time.Millisecond))
	}
	return err
}
