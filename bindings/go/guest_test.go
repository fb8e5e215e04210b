//go:build guest

// What needs Linux guests: test/bindings/go/run_guest runs it, with $MICROVM_DATA_DIR that has the
// image "counter".
package microvm_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	microvm "libmicrovm.dev/go"
)

const image = "counter"

var shared struct {
	sync.Mutex
	rt *microvm.Runtime
	vm *microvm.Vm
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.vm != nil {
		if err := shared.vm.Terminate(background); err != nil {
			fmt.Println("terminate:", err)
			code = 1
		}
		shared.vm.Close()
	}
	if shared.rt != nil {
		shared.rt.Close()
	}
	os.Exit(code)
}

// within bounds a test in a machine that is emulated and shared.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(background, 4*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func guestRuntime(t *testing.T) *microvm.Runtime {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.rt == nil {
		rt, err := microvm.Open(background, nil)
		if err != nil {
			t.Fatal(err)
		}
		shared.rt = rt
	}
	return shared.rt
}

// sharedVm is for tests that leave it as it was.
func sharedVm(t *testing.T) *microvm.Vm {
	t.Helper()
	rt := guestRuntime(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.vm == nil {
		vm, err := rt.Run(within(t), image, nil)
		if err != nil {
			t.Fatal(err)
		}
		shared.vm = vm
	}
	return shared.vm
}

func ownVm(t *testing.T, options *microvm.RunOptions) *microvm.Vm {
	t.Helper()
	vm, err := guestRuntime(t).Run(within(t), image, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.Terminate(background); err != nil {
			t.Error(err)
		}
		vm.Close()
	})
	return vm
}

func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func output(t *testing.T, vm *microvm.Vm, name string, args ...string) string {
	t.Helper()
	out, err := vm.Command(within(t), name, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestGuestWholeLife(t *testing.T) {
	ctx := within(t)
	rt := guestRuntime(t)
	info := must(rt.Image(ctx, image))(t)
	if info.Name != image || !info.HasApp || len(info.Config.ExposedPorts) != 1 || info.Created.IsZero() {
		t.Error(info)
	}
	vm := must(rt.Run(ctx, image, &microvm.RunOptions{Name: "go-life"}))(t)
	defer vm.Close()
	state := must(vm.Info())(t)
	if state.ID != vm.ID() || len(vm.ID()) != 12 || state.Name != "go-life" || state.State != microvm.VmStateRunning ||
		time.Since(state.Created) > time.Hour || state.OutlivesOwner || !strings.HasPrefix(state.Image, image+":") {
		t.Error(state)
	}
	if times := must(vm.LaunchTimes())(t); times.Ready <= 0 || times.Ready < times.Restore {
		t.Error(times)
	}
	if counters := must(vm.Counters(ctx))(t); counters.Exits == 0 {
		t.Error(counters)
	}
	if _, err := rt.Run(ctx, image, &microvm.RunOptions{Name: "go-life"}); !errors.Is(err, microvm.ErrAlreadyExists) {
		t.Error(err)
	}
	other := must(rt.Attach(ctx, "go-life"))(t)
	defer other.Close()
	ended := make(chan *microvm.VmEnding, 1)
	go func() {
		ending, err := other.Wait(ctx)
		if err != nil {
			t.Error(err)
		}
		ended <- ending
	}()
	if err := vm.Terminate(ctx); err != nil {
		t.Fatal(err)
	}
	if ending := <-ended; ending == nil || ending.End != microvm.VmEndTerminated {
		t.Error(ending)
	}
	_, err := vm.Exec(ctx, &microvm.ExecOptions{Argv: []string{"true"}})
	wantError(t, err, microvm.ErrVmGone)
	for _, left := range must(rt.Vms(ctx))(t) {
		if left.ID == vm.ID() {
			t.Error("still listed:", left)
		}
	}
}

func TestGuestHTTPThroughDialContext(t *testing.T) {
	vm := sharedVm(t)
	client := &http.Client{Transport: &http.Transport{DialContext: vm.DialContext}, Timeout: time.Minute}
	for i := 0; i < 3; i++ {
		response, err := client.Get("http://vm:8080/")
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 1024)
		n, _ := response.Body.Read(body)
		response.Body.Close()
		if response.StatusCode != http.StatusOK || !strings.Contains(string(body[:n]), "in_memory") {
			t.Error(response.Status, string(body[:n]))
		}
	}
	_, err := vm.DialContext(within(t), "tcp", "vm:9")
	wantError(t, err, microvm.ErrConnectionRefused)
	_, err = vm.DialContext(within(t), "udp", "vm:8080")
	wantError(t, err, microvm.ErrInvalidArgument)
	_, err = vm.DialContext(within(t), "tcp", "vm:http")
	wantError(t, err, microvm.ErrInvalidArgument)
}

func TestGuestConnectionsHaveDeadlines(t *testing.T) {
	vm := sharedVm(t)
	conn := must(vm.Connect(within(t), 8080))(t)
	defer conn.Close()
	if conn.RemoteAddr().String() != vm.ID()+":8080" {
		t.Error(conn.RemoteAddr())
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4)
	if _, err := conn.Read(answer); err != nil || string(answer) != "HTTP" {
		t.Error(string(answer), err)
	}
}

// Threads as the kernel counts them, while a thousand goroutines wait for a program each.
func TestGuestThousandGoroutinesReadThousandExecs(t *testing.T) {
	const count = 1000
	ctx, cancel := context.WithTimeout(background, 8*time.Minute) // most of it to start them, under emulation
	defer cancel()
	vms := forks(t, 4) // the memory of one is too small for all of them
	var started, done sync.WaitGroup
	execs := make([]*microvm.Exec, count)
	for i := 0; i < count; i++ {
		started.Add(1)
		done.Add(1)
		go func(i int) {
			defer done.Done()
			exec, err := vms[i%len(vms)].Exec(ctx, &microvm.ExecOptions{Argv: []string{"cat"}, StdinOpen: true})
			execs[i] = exec
			started.Done()
			if err != nil {
				t.Error(err)
				return
			}
			got, err := exec.Read(ctx)
			if want := fmt.Sprintf("line %d\n", i); err != nil || string(got.Data) != want {
				t.Error(got, want, err)
			}
		}(i)
	}
	most := threadsUntil(t, &started)
	time.Sleep(time.Second) // until they read
	if n := threads(t); n > most {
		most = n
	}
	for i, exec := range execs {
		if exec == nil {
			continue
		}
		if err := exec.WriteStdin(ctx, []byte(fmt.Sprintf("line %d\n", i))); err != nil {
			t.Error(err)
		}
	}
	if n := threadsUntil(t, &done); n > most {
		most = n
	}
	t.Logf("at most %d threads", most)
	if most > 32 {
		t.Errorf("%d threads", most)
	}
	closeAll(execs)
}

func forks(t *testing.T, count uint32) []*microvm.Vm {
	t.Helper()
	vms := must(sharedVm(t).Fork(within(t), &microvm.ForkOptions{Count: count}))(t)
	for _, vm := range vms {
		vm := vm
		t.Cleanup(func() {
			if err := vm.Terminate(background); err != nil {
				t.Error(err)
			}
			vm.Close()
		})
	}
	return vms
}

func threadsUntil(t *testing.T, done *sync.WaitGroup) (most int) {
	over := make(chan struct{})
	go func() {
		done.Wait()
		close(over)
	}()
	for {
		if n := threads(t); n > most {
			most = n
		}
		select {
		case <-over:
			return most
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func closeAll(execs []*microvm.Exec) {
	var closed sync.WaitGroup
	for _, exec := range execs {
		if exec == nil {
			continue
		}
		closed.Add(1)
		go func(exec *microvm.Exec) {
			defer closed.Done()
			exec.Close()
		}(exec)
	}
	closed.Wait()
}
