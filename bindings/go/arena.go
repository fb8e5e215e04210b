package microvm

// #include <stdlib.h>
// #include <microvm.h>
import "C"

import (
	"runtime/cgo"
	"strings"
	"unsafe"
)

// arena is the C memory of one call's options: freed as one, when the call has returned. The first
// thing that has no form in C is what the call fails with.
type arena struct {
	blocks  []unsafe.Pointer
	handles []cgo.Handle
	err     error
}

func (a *arena) free() {
	for _, block := range a.blocks {
		C.free(block)
	}
	for _, handle := range a.handles {
		handle.Delete()
	}
	a.blocks, a.handles = nil, nil
}

func (a *arena) fail(message string) {
	if a.err == nil {
		a.err = &Error{Code: ErrInvalidArgument, Message: message}
	}
}

func (a *arena) allocate(size uintptr) unsafe.Pointer {
	block := C.calloc(1, C.size_t(size))
	if block == nil {
		panic("microvm: out of memory")
	}
	a.blocks = append(a.blocks, block)
	return block
}

// allocated is for what options point to: Go's own memory may not be pointed to from there.
func allocated[T any](a *arena) *T {
	return (*T)(a.allocate(unsafe.Sizeof(*new(T))))
}

// text is a C string. Which cannot have zero bytes in it, as the guest's names and arguments cannot.
func (a *arena) text(what, s string) *C.char {
	if strings.IndexByte(s, 0) >= 0 {
		a.fail(what + " has a zero byte in it")
	}
	text := C.CString(s)
	a.blocks = append(a.blocks, unsafe.Pointer(text))
	return text
}

// option is one that is NULL where it is empty.
func (a *arena) option(what, s string) *C.char {
	if s == "" {
		return nil
	}
	return a.text(what, s)
}

func (a *arena) texts(what string, list []string) (**C.char, C.size_t) {
	if len(list) == 0 {
		return nil, 0
	}
	first := (**C.char)(a.allocate(uintptr(len(list)) * unsafe.Sizeof((*C.char)(nil))))
	for i, s := range list {
		unsafe.Slice(first, len(list))[i] = a.text(what, s)
	}
	return first, C.size_t(len(list))
}

// user is what C hands back to the functions of callback.go.
func (a *arena) user(value any) unsafe.Pointer {
	handle := cgo.NewHandle(value)
	a.handles = append(a.handles, handle)
	cell := allocated[C.uintptr_t](a)
	*cell = C.uintptr_t(handle)
	return unsafe.Pointer(cell)
}

func valueOf(user unsafe.Pointer) any {
	return cgo.Handle(*(*C.uintptr_t)(user)).Value()
}

func boolOf(b bool) C.mvm_bool {
	if b {
		return 1
	}
	return 0
}

// goBytes copies; unlike C.GoBytes it is not held to 2 GiB.
func goBytes(data *C.uint8_t, size C.size_t) []byte {
	return append([]byte{}, unsafe.Slice((*byte)(data), int(size))...)
}

func goTexts(items **C.char, count C.size_t) []string {
	var texts []string
	for _, item := range unsafe.Slice(items, int(count)) {
		texts = append(texts, C.GoString(item))
	}
	return texts
}
