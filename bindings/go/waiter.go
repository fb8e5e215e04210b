package microvm

import (
	"context"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// waiter has a goroutine wait for the fd of a stream on Go's netpoller: no thread is held. What the
// netpoller sees is an epoll with that one fd in it, so that the stream's own descriptor keeps its
// flags, ends when the library closes it, and may become another one behind the same number.
type waiter struct {
	what   string
	fd     func() (int, error)
	events uint32

	turn chan struct{} // one goroutine at a time

	mutex  sync.Mutex
	file   *os.File // the epoll; nil until there was something to wait for
	closed bool
}

func newWaiter(what string, events uint32, fd func() (int, error)) *waiter {
	return &waiter{what: what, fd: fd, events: events, turn: make(chan struct{}, 1)}
}

// hold has the caller be the one goroutine, until it calls what it is given.
func (w *waiter) hold(ctx context.Context) (letGo func(), err error) {
	if w == nil { // of what was never opened
		return nil, &Error{Code: ErrInvalidArgument, Message: "it was never opened"}
	}
	if err := ctx.Err(); err != nil {
		return nil, contextError(w.what, err)
	}
	select {
	case w.turn <- struct{}{}:
		return func() { <-w.turn }, nil
	case <-ctx.Done():
		return nil, contextError(w.what, ctx.Err())
	}
}

// takeHeld calls try, which takes what is there, until it is something else than errWouldBlock.
func (w *waiter) takeHeld(ctx context.Context, try func() error) error {
	tried := try()
	if !isWouldBlock(tried) {
		return tried
	}
	file, err := w.open()
	if err != nil {
		return err
	}
	err = w.waitUntil(ctx, file, func() bool {
		tried = try()
		return !isWouldBlock(tried)
	})
	if err != nil {
		return w.ended(ctx, err)
	}
	return tried
}

func isWouldBlock(err error) bool {
	failed, ok := err.(*Error)
	return ok && failed.Code == errWouldBlock
}

func (w *waiter) waitUntil(ctx context.Context, file *os.File, done func() bool) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	restore := interruptWhenDone(ctx, file)
	defer restore()
	var armError error
	err = raw.Read(func(epoll uintptr) bool {
		if done() {
			return true
		}
		armError = w.arm(int(epoll)) // after it, which may have changed what the number stands for
		return armError != nil
	})
	if err != nil {
		return err
	}
	return armError
}

// arm puts the stream's fd into the epoll, each time anew. A stream that has attached again has another
// descriptor behind the same number; and Go's netpoller hears of changes only, so that a descriptor
// which is readable while there is nothing to take yet, as an ended stream's whose reason is being asked
// for, must be seen to become readable once more.
func (w *waiter) arm(epoll int) error {
	fd, err := w.fd()
	if err != nil {
		return err
	}
	event := syscall.EpollEvent{Events: w.events, Fd: int32(fd)}
	if err := syscall.EpollCtl(epoll, syscall.EPOLL_CTL_DEL, fd, &event); err != nil && !errors.Is(err, syscall.ENOENT) {
		return err
	}
	return syscall.EpollCtl(epoll, syscall.EPOLL_CTL_ADD, fd, &event)
}

// ended says why a wait did, without what it waited for.
func (w *waiter) ended(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		return contextError(w.what, ctx.Err())
	case w.isClosed():
		return closedError(w.what)
	}
	var failed *Error
	if errors.As(err, &failed) {
		return failed
	}
	return &Error{Code: ErrIO, Message: w.what + ": " + err.Error()}
}

func (w *waiter) open() (*os.File, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.closed {
		return nil, closedError(w.what)
	}
	if w.file != nil {
		return w.file, nil
	}
	file, err := newEpollFile()
	if err != nil {
		return nil, &Error{Code: ErrIO, Message: w.what + ": " + err.Error()}
	}
	w.file = file
	return file, nil
}

func (w *waiter) isClosed() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.closed
}

// close wakes who waits, and returns when nobody does any more.
func (w *waiter) close() {
	w.mutex.Lock()
	file := w.file
	w.file, w.closed = nil, true
	w.mutex.Unlock()
	if file != nil {
		file.Close()
	}
}

func newEpollFile() (*os.File, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(epoll, true); err != nil { // os.NewFile asks the netpoller only then
		syscall.Close(epoll)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(epoll), "microvm stream")
	if err := file.SetReadDeadline(time.Time{}); err != nil { // it did not take it
		file.Close()
		return nil, err
	}
	return file, nil
}

// interruptWhenDone ends waits on the file once ctx is done. What it returns ends the watch and
// makes the file as it was.
func interruptWhenDone(ctx context.Context, file *os.File) (restore func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ctx.Done():
			file.SetReadDeadline(time.Unix(1, 0))
		case <-stop:
		}
	}()
	return func() {
		close(stop)
		<-stopped
		file.SetReadDeadline(time.Time{})
	}
}
