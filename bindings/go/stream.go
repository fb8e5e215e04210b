package microvm

// #include <microvm.h>
import "C"

import "context"

type fdCall func(out *C.int32_t, err **C.mvm_error) C.mvm_status

// newStream waits for a stream of the library's.
func newStream(what string, events uint32, ask fdCall) *waiter {
	return newWaiter(what, events, func() (int, error) {
		var out C.int32_t
		err := quick(nil, func(err **C.mvm_error) C.mvm_status { return ask(&out, err) })
		return int(out), err
	})
}

// take calls one of the library's try functions until there is something. owner is what must not be
// collected meanwhile.
func (w *waiter) take(ctx context.Context, owner any, try func(err **C.mvm_error) C.mvm_status) error {
	letGo, err := w.hold(ctx)
	if err != nil {
		return err
	}
	defer letGo()
	return w.takeHeld(ctx, func() error { return quick(owner, try) })
}

// writeAll gives all of it, piece by piece as the library takes them, and nobody else's between.
func (w *waiter) writeAll(ctx context.Context, owner any, data []byte,
	try func(data []byte, taken *C.size_t, err **C.mvm_error) C.mvm_status) error {
	letGo, err := w.hold(ctx)
	if err != nil {
		return err
	}
	defer letGo()
	for len(data) > 0 {
		var taken C.size_t
		err := w.takeHeld(ctx, func() error {
			return quick(owner, func(err **C.mvm_error) C.mvm_status { return try(data, &taken, err) })
		})
		if err != nil {
			return err
		}
		data = data[taken:]
	}
	return nil
}
