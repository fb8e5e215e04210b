package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"runtime"
	"unsafe"
)

// A call of C that blocks occupies an OS thread. Those that end by themselves soon share
// threadSlots, so that a thousand goroutines that each start a program do not become a thousand
// threads; the others wait for their slot as goroutines. quickSlots are for calls that take what is
// there: under load the Go scheduler takes those for blocked, too.
var (
	threadSlots = make(chan struct{}, 12)
	quickSlots  = make(chan struct{}, 4)
)

// blocking is the form of each call: it gives C its limits and place for an error.
type blocking func(limits *C.mvm_limits, err **C.mvm_error) C.mvm_status

// call makes one call that ends soon, whatever the guest's programs do. owner is what must not be
// collected meanwhile; the options are freed.
func call(ctx context.Context, owner any, what string, options *arena, f blocking) error {
	if err := ctx.Err(); err != nil {
		options.free()
		return contextError(what, err)
	}
	select {
	case threadSlots <- struct{}{}:
		defer func() { <-threadSlots }()
	case <-ctx.Done():
		options.free()
		return contextError(what, ctx.Err())
	}
	return callOnThread(ctx, owner, what, options, f)
}

// callOnThread makes one that may take as long as it likes (a build, a copy of files) or calls what
// the caller gave it, which may in turn wait for other calls: it has a thread to itself.
func callOnThread(ctx context.Context, owner any, what string, options *arena, f blocking) error {
	defer options.free()
	if err := ctx.Err(); err != nil {
		return contextError(what, err)
	}
	if options.err != nil {
		return options.err
	}
	cancel, err := newCancel(ctx)
	if err != nil {
		return err
	}
	err = cancel.run(f)
	runtime.KeepAlive(owner)
	return cancel.end(what, err)
}

// quick makes one that does not block.
func quick(owner any, f func(err **C.mvm_error) C.mvm_status) error {
	quickSlots <- struct{}{}
	defer func() { <-quickSlots }()
	var cError *C.mvm_error
	status := f(&cError)
	runtime.KeepAlive(owner)
	return takeError(status, cError)
}

// cancel carries a context's end into one call of C: a handle that a goroutine fires. Without a
// context that can end there is neither.
type cancel struct {
	ctx     context.Context
	handle  *C.mvm_cancel
	stop    chan struct{}
	stopped chan bool // whether it was fired
}

// Handles that were not fired are used again: each has an eventfd.
var idleCancels = make(chan *C.mvm_cancel, 16)

func newCancel(ctx context.Context) (*cancel, error) {
	c := &cancel{ctx: ctx}
	if ctx.Done() == nil {
		return c, nil
	}
	select {
	case c.handle = <-idleCancels:
	default:
		var cError *C.mvm_error
		if status := C.mvm_cancel_new(&c.handle, &cError); status != C.MVM_OK {
			return nil, takeError(status, cError)
		}
	}
	c.stop, c.stopped = make(chan struct{}), make(chan bool, 1)
	go c.watch()
	return c, nil
}

func (c *cancel) watch() {
	select {
	case <-c.ctx.Done():
		C.mvm_cancel_fire(c.handle)
		c.stopped <- true
	case <-c.stop:
		c.stopped <- false
	}
}

func (c *cancel) run(f blocking) error {
	var limits C.mvm_limits
	limits.struct_size = C.sizeof_mvm_limits
	limits.cancel = c.handle
	var cError *C.mvm_error
	status := f(&limits, &cError)
	return takeError(status, cError)
}

// end gives the handle back, and says that it was the context where it was.
func (c *cancel) end(what string, err error) error {
	if c.handle == nil {
		return err
	}
	close(c.stop)
	if fired := <-c.stopped; fired {
		C.mvm_cancel_free(c.handle)
	} else {
		keepCancel(c.handle)
	}
	if failed, ok := err.(*Error); ok && failed.Code == ErrCancelled && c.ctx.Err() != nil {
		return contextError(what, c.ctx.Err())
	}
	return err
}

func keepCancel(handle *C.mvm_cancel) {
	select {
	case idleCancels <- handle:
	default:
		C.mvm_cancel_free(handle)
	}
}

// release frees what the library allocated.
func release[T any](p *T) {
	C.mvm_free(unsafe.Pointer(p))
}

// textOf asks for a string of the library's.
func textOf(owner any, ask func(out **C.char, err **C.mvm_error) C.mvm_status) (string, error) {
	var out *C.char
	err := quick(owner, func(err **C.mvm_error) C.mvm_status { return ask(&out, err) })
	if err != nil {
		return "", err
	}
	defer release(out)
	return C.GoString(out), nil
}

// closeForgotten has the garbage collector close what its owner forgot.
func closeForgotten[T interface{ Close() error }](object T) {
	runtime.SetFinalizer(object, func(object T) { go object.Close() })
}
