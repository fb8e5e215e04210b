package microvm

// #include <microvm.h>
import "C"

import (
	"context"
	"io"
	"sync"
	"unsafe"
)

// Progress of a long call.
type Progress struct {
	Step   string // "STEP 3/7: RUN python3 -m py_compile …"
	Done   uint64 // in units of Total
	Total  uint64 // 0: not known
	Output []byte // of a RUN, when there is some
}

// callbacks are the caller's functions that one call of C calls, never concurrently. The first
// panic or error of one ends the call, and is what the caller of it meets.
type callbacks struct {
	progress func(Progress)
	sink     io.Writer
	source   io.Reader
	stop     context.CancelFunc

	err      error
	panicked bool
	value    any
}

// callWith makes a call that calls back.
func callWith(ctx context.Context, owner any, what string, options *arena, given *callbacks, f blocking) error {
	ctx, given.stop = context.WithCancel(ctx)
	defer given.stop()
	err := callOnThread(ctx, owner, what, options, f)
	if given.panicked {
		panic(given.value)
	}
	if given.err != nil {
		return given.err
	}
	return err
}

// guard runs one of the functions; false: the call is to end.
func (c *callbacks) guard(f func()) bool {
	if c.panicked || c.err != nil {
		return false
	}
	c.panicked = true
	defer func() {
		if c.panicked {
			c.value = recover()
			c.stop()
		}
	}()
	f()
	c.panicked = false
	return c.err == nil
}

//export libmicrovmGoProgress
func libmicrovmGoProgress(user unsafe.Pointer, from *C.mvm_progress) {
	given := valueOf(user).(*callbacks)
	given.guard(func() {
		p := Progress{Step: C.GoString(from.step), Done: uint64(from.done), Total: uint64(from.total)}
		if from.output_size > 0 {
			p.Output = goBytes(from.output, from.output_size)
		}
		given.progress(p)
	})
}

//export libmicrovmGoSink
func libmicrovmGoSink(user, data unsafe.Pointer, size C.size_t) C.int32_t {
	given := valueOf(user).(*callbacks)
	ok := given.guard(func() {
		_, given.err = given.sink.Write(unsafe.Slice((*byte)(data), int(size)))
	})
	if !ok {
		return C.MVM_CANCELLED
	}
	return C.MVM_OK
}

//export libmicrovmGoSource
func libmicrovmGoSource(user, buffer unsafe.Pointer, capacity C.size_t) C.int64_t {
	given := valueOf(user).(*callbacks)
	n := 0
	ok := given.guard(func() {
		n, given.err = readSome(given.source, unsafe.Slice((*byte)(buffer), int(capacity)))
	})
	if !ok {
		return C.MVM_CANCELLED
	}
	return C.int64_t(n)
}

// readSome is 0 at the end only.
func readSome(from io.Reader, to []byte) (int, error) {
	for tries := 0; tries < 100; tries++ {
		n, err := from.Read(to)
		if n > 0 {
			return n, nil // an error comes again with the next call
		}
		if err == io.EOF {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// tellers are the functions of a Runtime. The library calls them in the middle of its own calls, on
// whatever thread; what it has to say is passed on from there, and told in order by a goroutine that
// there is as long as something is left to tell. So they hold up no call, and may make calls themselves.
type tellers struct {
	log     func(line string)
	onEvent func(VmEvent)

	mutex    sync.Mutex
	closed   bool
	waiting  []func()
	told     chan struct{} // closed when there is nothing more to tell; nil: nothing is being told
	panicked bool
	value    any
}

// tell has f called, unless it is closed.
func (t *tellers) tell(f func()) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.closed {
		return
	}
	t.waiting = append(t.waiting, f)
	if t.told == nil {
		t.told = make(chan struct{})
		go t.tellAll()
	}
}

func (t *tellers) tellAll() {
	returned := false
	defer func() {
		if !returned { // a function has ended this goroutine
			go t.tellAll()
		}
	}()
	for f := t.next(); f != nil; f = t.next() {
		t.guard(f)
	}
	returned = true
}

func (t *tellers) next() func() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if len(t.waiting) == 0 {
		t.waiting = nil
		close(t.told)
		t.told = nil
		return nil
	}
	f := t.waiting[0]
	t.waiting = t.waiting[1:]
	return f
}

// guard keeps a panic for Close: there is no caller to meet it.
func (t *tellers) guard(f func()) {
	returned := false
	defer func() {
		if !returned {
			t.keep(recover())
		}
	}()
	f()
	returned = true
}

func (t *tellers) keep(value any) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if !t.panicked {
		t.panicked, t.value = true, value
	}
}

// close waits until all is told, and raises what was kept.
func (t *tellers) close() {
	t.mutex.Lock()
	t.closed = true
	told := t.told
	t.mutex.Unlock()
	if told != nil {
		<-told
	}
	t.mutex.Lock()
	panicked, value := t.panicked, t.value
	t.panicked = false
	t.mutex.Unlock()
	if panicked {
		panic(value)
	}
}

//export libmicrovmGoLog
func libmicrovmGoLog(user unsafe.Pointer, line *C.char) {
	tell := valueOf(user).(*runtimeUser).tellers
	text := C.GoString(line)
	tell.tell(func() { tell.log(text) })
}

//export libmicrovmGoEvent
func libmicrovmGoEvent(user unsafe.Pointer, event *C.mvm_vm_event) {
	tell := valueOf(user).(*runtimeUser).tellers
	copied := vmEventOf(event)
	tell.tell(func() { tell.onEvent(copied) })
}

// runtimeUser lives until the library has made the last of those calls.
type runtimeUser struct {
	tellers *tellers
	memory  arena
}

//export libmicrovmGoRelease
func libmicrovmGoRelease(user unsafe.Pointer) {
	valueOf(user).(*runtimeUser).memory.free()
}
