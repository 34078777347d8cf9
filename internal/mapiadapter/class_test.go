package mapiadapter

import "testing"

func TestClassOf(t *testing.T) {
	for hr, want := range map[uint32]Class{
		0x8004011D: ClassAuth, 0x80040113: ClassAuth,
		0x80040120: ClassAccount, 0x80040121: ClassAccount, 0x80040122: ClassAccount, 0x80040123: ClassAccount, 0x80040124: ClassAccount,
		0x80040111: ClassLogon,
		0x80040115: ClassOther, 0x80040401: ClassOther, 0x8004010F: ClassOther, 0x8004011C: ClassOther, 0x80070005: ClassOther, 0x80040154: ClassOther,
		0x8004011F: ClassOther, 0x80040125: ClassOther, 0xFFFFFFFF: ClassOther, 0: ClassOther,
	} {
		if got := classOf(hr); got != want {
			t.Errorf("0x%08X is %s, not %s", hr, got, want)
		}
	}
}
