package microvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pipeStream is a stream whose try function reads a pipe.
type pipeStream struct {
	*waiter
	from, to int
}

func newPipeStream(t *testing.T, events uint32) *pipeStream {
	t.Helper()
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_NONBLOCK|syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Close(ends[0])
		syscall.Close(ends[1])
	})
	s := &pipeStream{from: ends[0], to: ends[1]}
	fd := s.from
	if events == syscall.EPOLLOUT {
		fd = s.to
	}
	s.waiter = newWaiter("pipe", events, func() (int, error) { return fd, nil })
	return s
}

func (s *pipeStream) tryRead(to []byte) (int, error) {
	n, err := syscall.Read(s.from, to)
	if err == syscall.EAGAIN {
		return 0, &Error{Code: errWouldBlock}
	}
	return n, err
}

func (s *pipeStream) read(ctx context.Context) (string, error) {
	letGo, err := s.hold(ctx)
	if err != nil {
		return "", err
	}
	defer letGo()
	buffer := make([]byte, 16)
	n := 0
	err = s.takeHeld(ctx, func() error {
		n, err = s.tryRead(buffer)
		return err
	})
	return string(buffer[:n]), err
}

func (s *pipeStream) write(t *testing.T, text string) {
	t.Helper()
	if _, err := syscall.Write(s.to, []byte(text)); err != nil {
		t.Error(err)
	}
}

func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}

func TestWaiterTakesWhatIsThereAndWhatComes(t *testing.T) {
	s := newPipeStream(t, syscall.EPOLLIN)
	defer s.close()
	s.write(t, "there")
	for i := 0; i < 100; i++ {
		if got, err := s.read(context.Background()); got != "there" || err != nil {
			t.Fatal(got, err)
		}
		if i < 99 {
			time.AfterFunc(time.Duration(i%3)*time.Millisecond, func() { s.write(t, "there") })
		}
	}
}

func TestThousandWaitersHoldNoThread(t *testing.T) {
	const count = 1000
	var started, done sync.WaitGroup
	streams := make([]*pipeStream, count)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for i := range streams {
		s := newPipeStream(t, syscall.EPOLLIN)
		streams[i] = s
		started.Add(1)
		done.Add(1)
		go func(want string) {
			defer done.Done()
			started.Done()
			if got, err := s.read(ctx); got != want || err != nil {
				t.Error(got, want, err)
			}
		}(fmt.Sprint(i))
	}
	started.Wait()
	time.Sleep(50 * time.Millisecond) // until they wait
	if n := threads(t); n > 32 {
		t.Errorf("%d threads", n)
	}
	for i, s := range streams {
		s.write(t, fmt.Sprint(i))
	}
	done.Wait()
	for _, s := range streams {
		s.close()
	}
}

func TestWaiterEndsWithTheContextAndGoesOn(t *testing.T) {
	s := newPipeStream(t, syscall.EPOLLIN)
	defer s.close()
	for i := 0; i < 20; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		_, err := s.read(ctx)
		cancel()
		if !errors.Is(err, ErrDeadlineExceeded) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		s.write(t, "x")
		if got, err := s.read(context.Background()); got != "x" || err != nil {
			t.Fatal(got, err)
		}
	}
}

func TestWaiterOfAContextThatIsDoneTakesNothing(t *testing.T) {
	s := newPipeStream(t, syscall.EPOLLIN)
	defer s.close()
	s.write(t, "x")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.read(ctx); !errors.Is(err, ErrCancelled) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got, err := s.read(context.Background()); got != "x" || err != nil {
		t.Fatal(got, err)
	}
}

func TestSecondReaderWaitsForItsTurnWithItsContext(t *testing.T) {
	s := newPipeStream(t, syscall.EPOLLIN)
	defer s.close()
	first := make(chan error, 1)
	go func() {
		_, err := s.read(context.Background())
		first <- err
	}()
	time.Sleep(20 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	s.write(t, "x")
	if err := <-first; err != nil {
		t.Fatal(err)
	}
}

func TestCloseWakesWhoWaits(t *testing.T) {
	s := newPipeStream(t, syscall.EPOLLIN)
	failed := make(chan error, 1)
	go func() {
		_, err := s.read(context.Background())
		failed <- err
	}()
	time.Sleep(20 * time.Millisecond)
	s.close()
	if err := <-failed; !errors.Is(err, ErrInvalidArgument) {
		t.Fatal(err)
	}
	if _, err := s.read(context.Background()); !errors.Is(err, ErrInvalidArgument) {
		t.Fatal(err)
	}
}

// As a stream does that attaches again: between two waits, or in the call that takes what is there.
func TestWaiterFollowsANumberThatBecomesAnotherStream(t *testing.T) {
	for _, within := range []bool{false, true} {
		first, second := newPipeStream(t, syscall.EPOLLIN), newPipeStream(t, syscall.EPOLLIN)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		if _, err := first.read(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		cancel()
		change := func() {
			if err := syscall.Dup3(second.from, first.from, syscall.O_CLOEXEC); err != nil {
				t.Error(err)
			}
		}
		tries := 0
		buffer := make([]byte, 16)
		if !within {
			change()
		}
		time.AfterFunc(10*time.Millisecond, func() { second.write(t, "second") })
		err := first.takeHeld(context.Background(), func() error {
			if tries++; within && tries == 2 { // the last one before it waits
				change()
				return &Error{Code: errWouldBlock}
			}
			_, err := first.tryRead(buffer)
			return err
		})
		if string(buffer[:6]) != "second" || err != nil {
			t.Fatal(string(buffer), err)
		}
		first.close()
	}
}

func TestWaiterWaitsForRoom(t *testing.T) {
	s := newPipeStream(t, syscall.EPOLLOUT)
	defer s.close()
	full := make([]byte, 1<<20)
	write := func(ctx context.Context) error {
		return s.takeHeld(ctx, func() error {
			_, err := syscall.Write(s.to, full)
			if err == syscall.EAGAIN {
				return &Error{Code: errWouldBlock}
			}
			return err
		})
	}
	if err := write(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := write(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, func() { _, _ = syscall.Read(s.from, make([]byte, 1<<20)) })
	if err := write(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestWaiterAsksAgainWhereAReadableStreamHasNothingYet(t *testing.T) {
	s := newPipeStream(t, syscall.EPOLLIN)
	defer s.close()
	s.write(t, "x")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	letGo, err := s.hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer letGo()
	ready := time.Now().Add(50 * time.Millisecond)
	err = s.takeHeld(ctx, func() error {
		if time.Now().Before(ready) {
			return &Error{Code: errWouldBlock}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
