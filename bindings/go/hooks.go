package microvm

// #include <microvm.h>
import "C"

import "time"

// HookPath is where hooks are called: POST HookPath+"run", and so on.
const HookPath = C.MVM_HOOK_PATH

// MaxRunHookPayloadBytes bounds RunOptions.RunHookPayload.
const MaxRunHookPayloadBytes = C.MVM_MAX_RUN_HOOK_PAYLOAD_BYTES

// Hooks are HTTP calls into the app at the turns of its life: those that have a time for their
// answer. Each is
//
//	POST /microvm/runtime/v1/NAME   HTTP/1.1, Content-Type: application/json, Connection: close
//
// to one TCP port of the guest's loopback, made from inside the guest. 200 is done. Anything else,
// no answer in time, or nobody who listens for half a second is a failure; of ready and validate,
// 503 and nobody who listens mean: ask again. The body of run is {"microvmId": its id,
// "runHookPayload": text}, of suspend, resume and terminate {"microvmId": its id}, of the others
// {}. When ready or validate fail the build fails, when run fails the Vm is terminated and the call
// fails; of the others VmHookFailed is told and the Vm goes on.
type Hooks struct {
	Port      uint16        // of the guest; needed when there is a hook
	Ready     time.Duration // build: until the app may be snapshotted. Suits most: a minute; at most an hour
	Validate  time.Duration // build: in a throw-away clone of the finished snapshot. Likewise
	Run       time.Duration // once in each new Vm, before the caller has it. 10 s; at most a minute
	Suspend   time.Duration // before a running Vm is suspended. Likewise
	Resume    time.Duration // after a resume or a rollback, before calls reach the guest. Likewise
	Terminate time.Duration // before a running Vm is terminated. 5 s; at most a minute
}

func (h Hooks) given(memory *arena) *C.mvm_hooks {
	if h == (Hooks{}) {
		return nil
	}
	given := allocated[C.mvm_hooks](memory)
	*given = C.mvm_hooks{
		struct_size:  C.sizeof_mvm_hooks,
		port:         C.uint32_t(h.Port),
		ready_ms:     milliseconds(h.Ready),
		validate_ms:  milliseconds(h.Validate),
		run_ms:       milliseconds(h.Run),
		suspend_ms:   milliseconds(h.Suspend),
		resume_ms:    milliseconds(h.Resume),
		terminate_ms: milliseconds(h.Terminate),
	}
	return given
}

func hooksOf(from *C.mvm_hooks) Hooks {
	return Hooks{
		Port:      uint16(from.port),
		Ready:     goMilliseconds(from.ready_ms),
		Validate:  goMilliseconds(from.validate_ms),
		Run:       goMilliseconds(from.run_ms),
		Suspend:   goMilliseconds(from.suspend_ms),
		Resume:    goMilliseconds(from.resume_ms),
		Terminate: goMilliseconds(from.terminate_ms),
	}
}
