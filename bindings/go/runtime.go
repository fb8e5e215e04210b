package microvm

// #include "bridge.h"
import "C"

import (
	"context"
	"runtime"
)

// RuntimeOptions of Open; nil: the zero value.
type RuntimeOptions struct {
	// Empty: $MICROVM_DATA_DIR, else $XDG_DATA_HOME/libmicrovm, else ~/.local/share/libmicrovm.
	DataDir string
	// Workers kept started and shaped for the next Run of each image this Runtime has run.
	PoolSize uint32
	// What the running Vms of the directory may have together, each counted with all the memory its
	// guest sees. A Run, Fork or Resume above it is ErrOutOfMemory; a suspended Vm counts nothing.
	// 0: no limit. Other processes that open the directory have limits of their own.
	MemoryLimitBytes uint64
	// How many calls may wait for one Vm's change of state, mostly the resume that all of them need:
	// further ones are ErrBusy. Terminate always waits. 0: 4096; math.MaxUint32: no limit.
	MaxWaitingCalls uint32

	// Log gets one line each, OnEvent each change of a Vm by this process and the end of one that
	// this process was the first to see. On a goroutine of their own, one after the other and in order,
	// soon after it has happened: nobody waits for them but Close, which returns when all is told. They
	// may use this package, but must not close the Runtime. A panic in one of them is raised again by
	// Close.
	Log     func(line string)
	OnEvent func(VmEvent)
}

// Runtime is the root object: a data directory and what is in it. Several processes may open the
// same directory. All methods may be called by many goroutines at a time.
type Runtime struct {
	handle  *C.mvm_runtime
	dataDir string
	tellers *tellers
}

// Open opens a data directory, which is made when there is none.
func Open(ctx context.Context, options *RuntimeOptions) (*Runtime, error) {
	if err := checkLibrary(); err != nil {
		return nil, err
	}
	if options == nil {
		options = &RuntimeOptions{}
	}
	r := &Runtime{tellers: &tellers{log: options.Log, onEvent: options.OnEvent}}
	// Freed by the library's last word.
	user := &runtimeUser{tellers: r.tellers}
	memory := &arena{}
	given := options.given(memory)
	given.user = user.memory.user(user)
	err := call(ctx, nil, "open", memory, func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_open(given, limits, &r.handle, err)
	})
	if err != nil {
		user.memory.free()
		return nil, err
	}
	runtime.SetFinalizer(r, func(r *Runtime) { C.mvm_runtime_free(r.handle) })
	r.dataDir, err = textOf(r, func(out **C.char, err **C.mvm_error) C.mvm_status {
		return C.mvm_runtime_data_dir(r.handle, out, err)
	})
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (o *RuntimeOptions) given(memory *arena) *C.mvm_runtime_options {
	given := &C.mvm_runtime_options{
		struct_size:        C.sizeof_mvm_runtime_options,
		pool_size:          C.uint32_t(o.PoolSize),
		data_dir:           memory.option("data directory", o.DataDir),
		memory_limit_bytes: C.uint64_t(o.MemoryLimitBytes),
		max_waiting_calls:  C.uint32_t(o.MaxWaitingCalls),
		release:            C.mvm_release_fn(C.libmicrovm_go_release),
	}
	if o.Log != nil {
		given.log = C.mvm_log_fn(C.libmicrovm_go_log)
	}
	if o.OnEvent != nil {
		given.on_event = C.mvm_event_fn(C.libmicrovm_go_event)
	}
	return given
}

// DataDir is the directory that was opened.
func (r *Runtime) DataDir() string { return r.dataDir }

// Close ends the Runtime. Vms that die with their owner end when they are closed too.
func (r *Runtime) Close() error {
	if r.handle == nil { // was never opened
		return nil
	}
	runtime.SetFinalizer(r, nil)
	C.mvm_runtime_free(r.handle)
	r.tellers.close()
	return nil
}
