package mapiadapter

import "time"

func Wake(s State, l Limits, now time.Time) time.Time      { return now.Add(5 * time.Second) }
func NextCheck(s State, l Limits, now time.Time) time.Time { return now.Add(5 * time.Second) }
