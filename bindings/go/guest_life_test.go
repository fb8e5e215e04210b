//go:build guest

package microvm_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	microvm "libmicrovm.dev/go"
)

func TestGuestLogs(t *testing.T) {
	ctx := within(t)
	vm := ownVm(t, nil)
	logs := must(vm.FollowLogs(ctx, microvm.AppLog))(t)
	defer logs.Close()
	get(t, vm)
	lines := bufio.NewScanner(logs.Reader(ctx))
	if !lines.Scan() || !strings.Contains(lines.Text(), "GET") {
		t.Fatal(lines.Text(), lines.Err())
	}
	if kept := must(vm.Logs(ctx, microvm.AppLog))(t); !strings.Contains(string(kept), "GET") {
		t.Error(string(kept))
	}
	must(vm.Logs(ctx, microvm.KernelLog))(t) // a clone's kernel may have said nothing yet
	if err := vm.Terminate(ctx); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if _, err := logs.Read(ctx); err != io.EOF || lines.Err() != nil {
		t.Error("at the Vm's end:", err, lines.Err())
	}
}

// get is what the counter says.
func get(t *testing.T, vm *microvm.Vm) (answer struct {
	InMemory int `json:"in_memory"`
}) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: vm.DialContext, DisableKeepAlives: true}}
	response := must(client.Get("http://vm:8080/"))(t)
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestGuestEvents(t *testing.T) {
	ctx := within(t)
	var mutex sync.Mutex
	var told []string
	rt := must(microvm.Open(ctx, &microvm.RuntimeOptions{OnEvent: func(event microvm.VmEvent) {
		mutex.Lock()
		defer mutex.Unlock()
		told = append(told, event.Kind.String()+" "+event.VmID)
	}}))(t)
	defer rt.Close()
	events := must(rt.Events(ctx, &microvm.EventOptions{Follow: true}))(t)
	defer events.Close()
	vm := must(rt.Run(ctx, image, nil))(t)
	defer vm.Close()
	if err := vm.Terminate(ctx); err != nil {
		t.Fatal(err)
	}
	var seen []microvm.VmEvent
	for len(seen) < 2 {
		event := must(events.Next(ctx))(t)
		if event.VmID == vm.ID() {
			seen = append(seen, *event)
		}
	}
	if seen[0].Kind != microvm.VmStarted || seen[0].Took <= 0 || time.Since(seen[0].Time) > time.Hour ||
		seen[1].Kind != microvm.VmTerminated || seen[1].End != microvm.VmEndTerminated || seen[1].Cause != microvm.CauseCall {
		t.Error(seen)
	}
	allTold := func() bool { // by a goroutine of its own
		mutex.Lock()
		defer mutex.Unlock()
		return strings.Join(told, ",") == "started "+vm.ID()+",terminated "+vm.ID()
	}
	for tries := 0; !allTold(); tries++ {
		if tries == 1000 {
			t.Fatal(told)
		}
		time.Sleep(10 * time.Millisecond)
	}
	past := must(rt.Events(ctx, nil))(t)
	defer past.Close()
	for count := 0; ; count++ {
		_, err := past.Next(ctx)
		if err == io.EOF && count >= 2 {
			break
		}
		if err != nil {
			t.Fatal(count, err)
		}
	}
}

func TestGuestSuspendAndResume(t *testing.T) {
	ctx := within(t)
	vm := ownVm(t, nil)
	get(t, vm)
	lost := must(vm.Exec(ctx, inShell("while :; do echo tick; sleep 1; done")))(t)
	defer lost.Close()
	kept := must(vm.Exec(ctx, &microvm.ExecOptions{Argv: []string{"cat"}, StdinOpen: true, Reattach: true}))(t)
	defer kept.Close()
	if err := kept.WriteStdin(ctx, []byte("before\n")); err != nil {
		t.Fatal(err)
	}
	if piece := must(kept.Read(ctx))(t); string(piece.Data) != "before\n" {
		t.Error(string(piece.Data))
	}
	times := must(vm.Suspend(ctx, nil))(t)
	if times.Pause <= 0 || times.Durable < times.Acknowledged || times.StoredBytes == 0 {
		t.Error(times)
	}
	if state := must(vm.Info())(t); state.State != microvm.VmStateSuspended {
		t.Error(state)
	}
	for {
		_, err := lost.Read(ctx)
		if err != nil {
			wantError(t, err, microvm.ErrVmSuspended)
			break
		}
	}
	if err := kept.WriteStdin(ctx, []byte("after\n")); err != nil { // wakes it
		t.Fatal(err)
	}
	if piece := must(kept.Read(ctx))(t); string(piece.Data) != "after\n" {
		t.Error(string(piece.Data))
	}
	if answer := get(t, vm); answer.InMemory < 2 {
		t.Error(answer)
	}
	must(vm.Suspend(ctx, &microvm.SuspendOptions{NoWaitDurable: true}))(t)
	if err := vm.Resume(ctx, &microvm.ResumeOptions{Idle: &microvm.IdlePolicy{IdleAfter: time.Hour}}); err != nil {
		t.Fatal(err)
	}
	if state := must(vm.Info())(t); state.State != microvm.VmStateRunning {
		t.Error(state)
	}
}

func TestGuestReaderGoesOnOverASuspend(t *testing.T) {
	ctx := within(t)
	vm := ownVm(t, nil)
	program := must(vm.Exec(ctx, &microvm.ExecOptions{
		Argv: []string{"sh", "-c", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done"}, Reattach: true,
	}))(t)
	defer program.Close()
	first := must(program.Read(ctx))(t)
	read := make(chan string, 1)
	go func() {
		text := string(first.Data)
		for {
			piece, err := program.Read(ctx) // waits in the netpoller when the suspend comes
			if err != nil {
				read <- fmt.Sprint(text, err)
				return
			}
			text += string(piece.Data)
		}
	}()
	must(vm.Suspend(ctx, nil))(t)
	if got := <-read; got != "1\n2\n3\n4\n5\n6\nEOF" {
		t.Error(got)
	}
}

func TestGuestForkCheckpointRollback(t *testing.T) {
	ctx := within(t)
	rt := guestRuntime(t)
	vm := ownVm(t, nil)
	get(t, vm)
	if err := vm.WriteFile(ctx, "/tmp/state", []byte("one"), nil); err != nil {
		t.Fatal(err)
	}
	info := must(vm.Checkpoint(ctx, &microvm.CheckpointOptions{Name: "go-point"}))(t)
	if info.Name != "go-point" || info.VmID != vm.ID() || info.StoredBytes == 0 || info.Created.IsZero() {
		t.Error(info)
	}
	defer func() {
		if err := rt.RemoveCheckpoint(ctx, "go-point"); err != nil {
			t.Error(err)
		}
	}()
	if err := vm.WriteFile(ctx, "/tmp/state", []byte("two"), nil); err != nil {
		t.Fatal(err)
	}
	forks := must(vm.Fork(ctx, &microvm.ForkOptions{Count: 2, Name: "go-fork"}))(t)
	if len(forks) != 2 {
		t.Fatal(forks)
	}
	for i, fork := range forks {
		defer fork.Close()
		if name := must(fork.Info())(t).Name; name != fmt.Sprintf("go-fork-%d", i+1) {
			t.Error(name)
		}
		if got := must(fork.ReadFile(ctx, "/tmp/state", nil))(t); string(got) != "two" {
			t.Error(string(got))
		}
		if err := fork.Terminate(ctx); err != nil {
			t.Error(err)
		}
	}
	if err := vm.Rollback(ctx, "go-point"); err != nil {
		t.Fatal(err)
	}
	if got := must(vm.ReadFile(ctx, "/tmp/state", nil))(t); string(got) != "one" {
		t.Error(string(got))
	}
	other := must(rt.RunCheckpoint(ctx, "go-point", nil))(t)
	defer other.Close()
	if got := must(other.ReadFile(ctx, "/tmp/state", nil))(t); string(got) != "one" || other.ID() == vm.ID() {
		t.Error(string(got), other.ID())
	}
	if err := other.Terminate(ctx); err != nil {
		t.Error(err)
	}
	if listed := must(rt.Checkpoints(ctx))(t); len(listed) != 1 || listed[0].ID != info.ID {
		t.Error(listed)
	}
}

func TestGuestStartThatIsCancelledLeavesNothing(t *testing.T) {
	rt := guestRuntime(t)
	before := len(must(rt.Vms(background))(t))
	for _, after := range []time.Duration{0, time.Millisecond, 100 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(background, after)
		vm, err := rt.Run(ctx, image, nil)
		cancel()
		if err == nil { // it was faster
			_ = vm.Terminate(background)
			vm.Close()
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	start := must(rt.Start(image, nil))(t)
	start.Cancel()
	_, err := start.Take(within(t))
	wantError(t, err, microvm.ErrCancelled)
	start.Close()
	for i := 0; len(must(rt.Vms(background))(t)) > before; i++ {
		if i == 200 {
			t.Fatal(rt.Vms(background))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Each kind of call that may wait for long ends with its context, and what it was called on goes on.
func TestGuestContextsEndCalls(t *testing.T) {
	vm := sharedVm(t)
	long := must(vm.Exec(within(t), &microvm.ExecOptions{Argv: []string{"sleep", "600"}, StdinOpen: true}))(t)
	defer long.Close()
	pty := must(vm.Pty(within(t), &microvm.PtyOptions{Argv: []string{"sleep", "600"}}))(t)
	defer pty.Close()
	watch := must(vm.Watch(within(t), "/tmp", nil))(t)
	defer watch.Close()
	logs := must(vm.FollowLogs(within(t), microvm.AppLog))(t)
	defer logs.Close()
	events := must(guestRuntime(t).Events(within(t), &microvm.EventOptions{Follow: true}))(t)
	defer events.Close()
	blocked, _ := io.Pipe()
	for what, call := range map[string]func(ctx context.Context) error{
		"Exec.Read":       func(ctx context.Context) error { _, err := long.Read(ctx); return err },
		"Exec.Wait":       func(ctx context.Context) error { _, err := long.Wait(ctx); return err },
		"Exec.WriteStdin": func(ctx context.Context) error { return long.WriteStdin(ctx, make([]byte, 16<<20)) },
		"Pty.Read":        func(ctx context.Context) error { _, err := pty.Read(ctx); return err },
		"Pty.Wait":        func(ctx context.Context) error { _, err := pty.Wait(ctx); return err },
		"Vm.Wait":         func(ctx context.Context) error { _, err := vm.Wait(ctx); return err },
		"WaitExec":        func(ctx context.Context) error { _, err := vm.WaitExec(ctx, long.ID()); return err },
		"ExecCollect":     func(ctx context.Context) error { _, err := vm.ExecCollect(ctx, inShell("sleep 600"), nil); return err },
		"Command": func(ctx context.Context) error {
			cmd := vm.Command(ctx, "sleep", "600")
			cmd.Stdin = blocked
			return cmd.Run()
		},
		"Watch.Next": untilError(func(ctx context.Context) error { _, err := watch.Next(ctx); return err }),
		"Logs":       untilError(func(ctx context.Context) error { _, err := logs.Read(ctx); return err }),
		"Events":     untilError(func(ctx context.Context) error { _, err := events.Next(ctx); return err }),
	} {
		ctx, cancel := context.WithCancel(background)
		failed := make(chan error, 1)
		go func() { failed <- call(ctx) }()
		time.Sleep(300 * time.Millisecond)
		cancel()
		select {
		case err := <-failed:
			if !errors.Is(err, context.Canceled) || !errors.Is(err, microvm.ErrCancelled) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s did not return", what)
		}
	}
	if got := output(t, vm, "echo", "on"); got != "on\n" {
		t.Error(got)
	}
}

func untilError(next func(ctx context.Context) error) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		for {
			if err := next(ctx); err != nil {
				return err
			}
		}
	}
}

func TestGuestKeepAwake(t *testing.T) {
	vm := ownVm(t, &microvm.RunOptions{Idle: &microvm.IdlePolicy{IdleAfter: 2 * time.Second}})
	awake := must(vm.KeepAwake())(t)
	time.Sleep(6 * time.Second)
	if state := must(vm.Info())(t); state.State != microvm.VmStateRunning {
		t.Error(state)
	}
	awake.Close()
	waitForState(t, vm, microvm.VmStateSuspended)
}

func waitForState(t *testing.T, vm *microvm.Vm, want microvm.VmState) {
	t.Helper()
	for i := 0; ; i++ {
		state := must(vm.Info())(t)
		if state.State == want {
			return
		}
		if i == 600 {
			t.Fatal(state)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Who dies with its owner does soon after it; what is left goes when the directory is opened next.
func waitUntilGone(t *testing.T, id string) {
	t.Helper()
	for i := 0; ; i++ {
		rt := must(microvm.Open(background, nil))(t)
		left := microvm.VmInfo{}
		for _, vm := range must(rt.Vms(background))(t) {
			if vm.ID == id {
				left = vm
			}
		}
		rt.Close()
		if left.ID == "" {
			return
		}
		if i == 30 {
			t.Fatalf("still there: %+v", left)
		}
		time.Sleep(time.Second)
	}
}

// The example, as a program of its own.
func TestGuestOrchestrator(t *testing.T) {
	program := os.Getenv("MICROVM_TEST_ORCHESTRATOR")
	if program == "" {
		t.Fatal("MICROVM_TEST_ORCHESTRATOR is not set; test/bindings/go/run_guest sets it")
	}
	cmd := exec.Command(program, "-listen", "127.0.0.1:0", "-warm", "1", "-idle", "2s", image)
	stdout := must(cmd.StdoutPipe())(t)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatal("it says nothing")
	}
	address := strings.TrimPrefix(lines.Text(), "listening on ")
	ask := func(user string) (count int, id string) {
		request := must(http.NewRequestWithContext(within(t), "GET", "http://"+address+"/", nil))(t)
		request.Header.Set("X-User", user)
		response := must(http.DefaultClient.Do(request))(t)
		defer response.Body.Close()
		var answer struct {
			InMemory int `json:"in_memory"`
		}
		body := must(io.ReadAll(response.Body))(t)
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatal(response.Status, string(body))
		}
		return answer.InMemory, response.Header.Get("X-Microvm")
	}
	first, id := ask("ann")
	if second, same := ask("ann"); second != first+1 || same != id {
		t.Error(first, id, second, same)
	}
	if other, his := ask("bob"); other != first || his == id {
		t.Error("not a microVM of his own:", first, id, other, his)
	}
	rt := guestRuntime(t)
	ann := must(rt.Attach(within(t), id))(t)
	defer ann.Close()
	waitForState(t, ann, microvm.VmStateSuspended)
	if third, same := ask("ann"); third != first+2 || same != id {
		t.Error("not resumed:", first, third, same)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	waitUntilGone(t, id)
}
