package microvm

// #include <microvm.h>
import "C"

import (
	"runtime"
	"time"
)

// IdlePolicy says when a Vm is put to sleep, how long it may sleep, how long it may live. Carried
// out by the Runtime that started or resumed the Vm, as long as it is open; its times count from
// there. A Runtime keeps no Vm that outlives its owner: of one, the policy ends there with the Vm
// handle that started or resumed it and the last KeepAwake of that handle. Zero times mean never. A
// Vm is idle while none of this holds: somebody is attached to a program of Exec, waits for its
// end, or is attached to a terminal; bytes move between the host and its ports; its programs use
// more CPU than the threshold; a KeepAwake is held, or the file /run/microvm/keep-awake is there in
// the guest.
type IdlePolicy struct {
	IdleAfter           time.Duration // idle without a break: then it is suspended
	SuspendedFor        time.Duration // asleep without a break: then it is terminated
	Lifetime            time.Duration // since it was started: then it is terminated, asleep or not
	LifetimeCountsSleep bool          // false: the time asleep is not part of the lifetime
	CPUThreshold        float64       // of one CPU, averaged between two looks at it; 0: 0.05
	// Calls that need the guest of a suspended Vm are ErrBusy until Resume.
	NoAutoResume bool
}

func (p *IdlePolicy) given(memory *arena) *C.mvm_idle_policy {
	if p == nil {
		return nil
	}
	given := allocated[C.mvm_idle_policy](memory)
	*given = C.mvm_idle_policy{
		struct_size:           C.sizeof_mvm_idle_policy,
		lifetime_counts_sleep: boolOf(p.LifetimeCountsSleep),
		idle_after_ms:         milliseconds(p.IdleAfter),
		suspended_for_ms:      milliseconds(p.SuspendedFor),
		lifetime_ms:           milliseconds(p.Lifetime),
		cpu_threshold:         C.double(p.CPUThreshold),
		no_auto_resume:        boolOf(p.NoAutoResume),
	}
	return given
}

// KeepAwake keeps a Vm from being idle until it is closed, in the policy that its own handle of the
// Vm carries out. A handle of Attach carries out none before it has resumed the Vm; the file
// /run/microvm/keep-awake in the guest has its effect everywhere.
type KeepAwake struct {
	handle *C.mvm_keep_awake
}

// KeepAwake begins at once.
func (vm *Vm) KeepAwake() (*KeepAwake, error) {
	k := &KeepAwake{}
	err := quick(vm, func(err **C.mvm_error) C.mvm_status {
		return C.mvm_vm_keep_awake(vm.handle, &k.handle, err)
	})
	if err != nil {
		return nil, err
	}
	closeForgotten(k)
	return k, nil
}

// Close lets the Vm be idle again.
func (k *KeepAwake) Close() error {
	if k.handle == nil { // was never opened
		return nil
	}
	runtime.SetFinalizer(k, nil)
	C.mvm_keep_awake_free(k.handle)
	return nil
}
