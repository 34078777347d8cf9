package desktop

import (
	"strings"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

const servicesKey = `SYSTEM\CurrentControlSet\Services`

// services are the services of those names that exist. The program of a service
// that another program wraps is the wrapper.
func services(names []string, m machine) map[string]Service {
	found := map[string]Service{}
	for _, name := range names {
		if name == "" || strings.ContainsAny(name, `\/`) { // no name of a service, but a path to another key
			continue
		}
		path := servicesKey + `\` + name
		k, err := registry.OpenKey(registry.LOCAL_MACHINE, path, registry.QUERY_VALUE)
		if err != nil {
			continue
		}
		closeHandle(windows.Handle(k)) // only whether it exists was asked
		local := hive{root: registry.LOCAL_MACHINE}
		s := Service{Account: local.text(path, "ObjectName", 0)}
		if program := serviceProgram(local.text(path, "ImagePath", 0), m); program != "" {
			s.Bitness = bitnessOf(program, nativeBitness())
		}
		found[name] = s
	}
	return found
}
