package mapiadapter

import "strconv"

// serial is an ID that is unique within a target's ledger.
func serial(prefix string, n uint64) string { return prefix + strconv.FormatUint(n, 10) }
