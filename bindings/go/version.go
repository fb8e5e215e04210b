package microvm

// #cgo pkg-config: libmicrovm
// #include <microvm.h>
import "C"

import "fmt"

// Version is the library's: "0.1.0".
func Version() string { return C.GoString(C.mvm_version()) }

// ABIVersion is what the loaded library knows. Open and the probes refuse one that knows less than
// this package was built with.
func ABIVersion() uint32 { return uint32(C.mvm_abi_version()) }

func checkLibrary() error { return compareVersions(ABIVersion(), C.MVM_ABI_VERSION) }

func compareVersions(loaded, needed uint32) error {
	if loaded >= needed {
		return nil
	}
	return &Error{Code: ErrUnsupported, Message: fmt.Sprintf(
		"this program was built for version %d of libmicrovm's C interface and the library that was loaded (%s) has version %d: install a newer one",
		needed, Version(), loaded)}
}
