package mapiprobe

import (
	"math"
	"strconv"
	"strings"
	"testing"
)

func TestClassify(t *testing.T) {
	for class, list := range map[Class][]uint32{
		ClassOK:            {0, 1, 0x00040380},
		ClassAuth:          {0x8004011D, 0x80040113, 0x80040120, 0x80040121, 0x80040122, 0x80040123, 0x80040124},
		ClassLogon:         {0x80040111},
		ClassNetwork:       {0x80040115},
		ClassBusy:          {0x80040401, 0x8004010B, 0x80040112, HResultNoAnswer},
		ClassConfiguration: {0x8004010F, 0x8004011C, 0x80070005, HResultBitness},
		ClassInstallation:  {0x80040154, 0x80040605, 0x80040117, 0x80040110, HResultNoMAPI},
		ClassOther:         {0x80004005, 0x8004FFFF, 0xFFFFFFFF},
	} {
		for _, hr := range list {
			if got := Classify(hr); got != class {
				t.Errorf("%s is %s, want %s", FormatHResult(hr), got, class)
			}
		}
	}
}

// Only what a person's sign-in can mend may start Outlook: each HRESULT that
// does is listed in the design, and no other may join them unnoticed.
func TestAuthClassIsClosed(t *testing.T) {
	n := 0
	for hr, m := range meanings {
		if m.class == ClassAuth {
			n++
		}
		if Name(hr) == "" || !failed(hr) {
			t.Errorf("%s has no name, or is no failure", FormatHResult(hr))
		}
		if s := Sentence(hr); !strings.HasSuffix(s, ".") || strings.Count(s, ". ") > 0 {
			t.Errorf("%s: %q is not one sentence", FormatHResult(hr), s)
		}
	}
	if n != 7 {
		t.Errorf("%d HRESULTs mean authentication, the design names 7", n)
	}
}

func TestUnknownHResult(t *testing.T) {
	if Name(0x80041234) != "" || Sentence(0x80041234) == "" || Name(0) != "S_OK" || Sentence(0) == "" {
		t.Error("an unknown HRESULT has a name, or no sentence")
	}
}

func TestParseHResult(t *testing.T) {
	for in, want := range map[string]uint32{
		"0x8004011D":    0x8004011D,
		"0X8004011d":    0x8004011D,
		" 0x8004011D\n": 0x8004011D,
		"8004011D":      0x8004011D,
		"80040111":      0x80040111, // eight digits are hexadecimal
		"-2147221219":   0x8004011D,
		"2147746077":    0x8004011D,
		"0":             0,
		"0x0":           0,
		"-1":            0xFFFFFFFF,
		"4294967295":    0xFFFFFFFF,
		"-2147483648":   0x80000000,
		"00000000":      0,
	} {
		if got, err := ParseHResult(in); err != nil || got != want {
			t.Errorf("%q is %s, %v, want %s", in, FormatHResult(got), err, FormatHResult(want))
		}
	}
	for _, in := range []string{
		"", " ", "0x", "MAPI_E_NOT_FOUND", "4011D", "0x18004011D", "4294967296", "-2147483649", "-0x8004011D", "+1", "0x+8004011", "1_000",
		"0x8004_11D", "８００４０１１Ｄ", strings.Repeat("9", 1000), "- 1", "+8004011", "0x-004011D", "1e3",
	} {
		if got, err := ParseHResult(in); err == nil {
			t.Errorf("%q is %s, want an error", in, FormatHResult(got))
		} else if len(err.Error()) > 300 {
			t.Errorf("%q: the error repeats %d bytes", in[:10], len(err.Error()))
		}
	}
}

// What is read can be written in each form and read again.
func FuzzParseHResult(f *testing.F) {
	for _, s := range []string{"0x8004011D", "8004011D", "-2147221219", "2147746077", "0", "", "x", "+1", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		hr, err := ParseHResult(s)
		if err != nil {
			if hr != 0 {
				t.Errorf("%q: %s beside an error", s, FormatHResult(hr))
			}
			return
		}
		forms := []string{FormatHResult(hr), FormatHResult(hr)[2:], strconv.Itoa(int(int32(hr)))}
		if hr > math.MaxInt32 { // ten digits
			forms = append(forms, strconv.FormatUint(uint64(hr), 10))
		}
		for _, form := range forms {
			if len(form) == 8 && form != forms[1] {
				continue // a decimal of eight digits reads as hexadecimal
			}
			if again, err := ParseHResult(form); err != nil || again != hr {
				t.Errorf("%q is %s, and %q is %s, %v", s, FormatHResult(hr), form, FormatHResult(again), err)
			}
		}
		if Classify(hr) == "" || Sentence(hr) == "" {
			t.Errorf("%s has no class or no sentence", FormatHResult(hr))
		}
	})
}
