package config

import (
	"errors"
	"fmt"

	"golang.org/x/sys/windows/registry"
)

// machinePolicy reads the policy of this machine. There may be none.
func machinePolicy() (PolicyKey, error) {
	return readKey(registry.LOCAL_MACHINE, policyPath)
}

// readKey reads a key with all that is below it, in the 64-bit view whatever the
// program is. What goes away meanwhile was never there.
func readKey(parent registry.Key, path string) (PolicyKey, error) {
	read := PolicyKey{Values: map[string]any{}, Keys: map[string]PolicyKey{}}
	k, err := registry.OpenKey(parent, path, registry.QUERY_VALUE|registry.ENUMERATE_SUB_KEYS|registry.WOW64_64KEY)
	if errors.Is(err, registry.ErrNotExist) {
		return PolicyKey{}, nil
	}
	if err != nil {
		return PolicyKey{}, err
	}
	defer func() { _ = k.Close() }()
	values, err := k.ReadValueNames(-1)
	if err != nil {
		return PolicyKey{}, err
	}
	for _, name := range values {
		value, err := readValue(k, name)
		if errors.Is(err, registry.ErrNotExist) {
			continue
		}
		if err != nil {
			return PolicyKey{}, err
		}
		read.Values[name] = value
	}
	keys, err := k.ReadSubKeyNames(-1)
	if err != nil {
		return PolicyKey{}, err
	}
	for _, name := range keys {
		if read.Keys[name], err = readKey(k, name); err != nil {
			return PolicyKey{}, err
		}
	}
	return read, nil
}

// readValue is one value as PolicyKey has it.
func readValue(k registry.Key, name string) (any, error) {
	_, kind, err := k.GetValue(name, nil)
	if err != nil {
		return nil, err
	}
	switch kind {
	case registry.SZ:
		text, _, err := k.GetStringValue(name)
		return text, err
	case registry.EXPAND_SZ:
		text, _, err := k.GetStringValue(name)
		if err != nil {
			return nil, err
		}
		return registry.ExpandString(text)
	case registry.DWORD, registry.QWORD:
		number, _, err := k.GetIntegerValue(name)
		if err != nil && !errors.Is(err, registry.ErrNotExist) {
			return PolicyType("number of a wrong length"), nil // whoever wrote it chose the length
		}
		return number, err
	case registry.MULTI_SZ:
		list, _, err := k.GetStringsValue(name)
		return list, err
	case registry.BINARY:
		return PolicyType("REG_BINARY"), nil
	default:
		return PolicyType(fmt.Sprintf("value of type %d", kind)), nil
	}
}
