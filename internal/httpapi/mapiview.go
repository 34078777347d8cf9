package httpapi

import (
	"cmp"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

func targetOf(v mapiadapter.View) MapiTarget {
	t := MapiTarget{
		Target: v.Name, Phase: MapiPhase(v.Phase), Freshness: MapiFreshness(v.Freshness), Reason: string(v.Reason),
		Message: v.Message, Action: v.Action, SinceAt: utc(v.Since),
		LastProof: utc(v.LastProof), ProofKind: MapiTargetProofKind(v.Proof), DueAt: utc(v.DueOn),
		LearnedLifetime: int64(v.Lifetime / time.Second), NextCheck: utc(v.NextCheck), RetryAt: utc(v.Retry),
		Attempts: v.Failures, Budget: MapiBudget{StartsLeft: v.StartsNow, StartsMax: v.StartsMax, NextStartAt: utc(v.NextStart)},
		Obstacle: MapiObstacle{
			Phase: MapiPhase(v.Obstacle.Phase), Reason: string(v.Obstacle.Reason), Message: v.Obstacle.Message, Action: v.Obstacle.Action,
		},
		Warnings: v.Warnings,
		Policy:   MapiTargetPolicy(v.Policy), Mode: MapiTargetMode(v.Mode), Profile: v.Profile,
		Account: cmp.Or(v.Account, v.Agent.Account), Host: v.Agent.Host, Agent: agentOf(v.Agent),
	}
	if v.HResult != 0 {
		t.Hresult = mapiprobe.FormatHResult(v.HResult)
	}
	return t
}

func agentOf(v mapiadapter.AgentView) MapiAgent {
	a := MapiAgent{
		Present: v.Present, InBroker: v.InBroker, Version: v.Info.Version, Pid: v.Info.PID, SeenAt: utc(v.SeenOn), ConnectionMode: v.Mode,
		Outlook: MapiOutlook{
			Path: v.Outlook.Path, Bitness: MapiOutlookBitness(v.Outlook.Bitness), Version: v.Outlook.Version, Running: MapiOutlookRunning(v.Running),
		},
	}
	if s := v.Session; s.State != "" { // it was seen
		a.Session = MapiSession{
			ID: int64(s.ID), State: MapiSessionState(s.State), Locked: s.Locked, LogonAt: utc(s.LogonOn), LastInputAt: utc(s.LastInputOn),
		}
	}
	return a
}

func entryOf(e mapiadapter.Entry) MapiEntry {
	return MapiEntry{
		Seq: int64(min(e.Seq, 1<<53)), At: utc(e.On), Event: e.Event, From: string(e.From), To: string(e.To), Reason: e.Reason,
		Cause: e.Cause, Attempt: e.Attempt, Action: e.Action, Outcome: e.Outcome, Detail: e.Detail,
	}
}
