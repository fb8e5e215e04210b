//go:build guest

package microvm_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	microvm "libmicrovm.dev/go"
)

func inShell(script string) *microvm.ExecOptions {
	return &microvm.ExecOptions{Argv: []string{"sh", "-c", script}}
}

func TestGuestExecHasStreamsAndEnd(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	exec := must(vm.Exec(ctx, inShell("echo out; sleep 0.2; echo err >&2; exit 3")))(t)
	defer exec.Close()
	var streams [2]string
	for {
		piece, err := exec.Read(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		streams[piece.Stream] += string(piece.Data)
	}
	status := must(exec.Wait(ctx))(t)
	if streams != [2]string{"out\n", "err\n"} || status.Code != 3 || status.Success() || status.String() != "exit status 3" {
		t.Error(streams, status)
	}
	if exec.ID() == "" || exec.PID() == 0 || exec.Position() != 8 {
		t.Error(exec.ID(), exec.PID(), exec.Position())
	}
}

func TestGuestExecCollect(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	input := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	result := must(vm.ExecCollect(ctx, inShell("cat; echo done >&2"), &microvm.CollectOptions{Input: input}))(t)
	if !result.Status.Success() || !bytes.Equal(result.Out, input) || string(result.Err) != "done\n" {
		t.Error(result.Status, len(result.Out), string(result.Err))
	}
	result = must(vm.ExecCollect(ctx, inShell("cat"), &microvm.CollectOptions{Input: input, MaxBytes: 100}))(t)
	if len(result.Out) != 100 {
		t.Error(len(result.Out))
	}
	// What does not read its input, and what has none.
	result = must(vm.ExecCollect(ctx, inShell("echo here"), &microvm.CollectOptions{Input: input}))(t)
	if string(result.Out) != "here\n" || !result.Status.Success() {
		t.Error(result)
	}
	result = must(vm.ExecCollect(ctx, inShell("cat"), nil))(t)
	if len(result.Out) != 0 {
		t.Error(result)
	}
	result = must(vm.ExecCollect(ctx, &microvm.ExecOptions{Argv: []string{"sleep", "60"}, Timeout: 100 * time.Millisecond}, nil))(t)
	if !result.Status.TimedOut {
		t.Error(result.Status)
	}
	result = must(vm.ExecCollect(ctx, &microvm.ExecOptions{Argv: []string{"/no/such"}}, nil))(t)
	if result.Status.Code != 127 || result.Status.Message == "" {
		t.Error(result.Status)
	}
}

func TestGuestExecOutlivesItsHandle(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	options := inShell("echo kept; read line; echo got $line; exit 5")
	options.ID, options.StdinOpen = "go-job", true
	first := must(vm.Exec(ctx, options))(t)
	defer first.Close()
	if piece := must(first.Read(ctx))(t); string(piece.Data) != "kept\n" {
		t.Error(piece)
	}
	_, err := vm.AttachExec(ctx, "go-job", nil)
	wantError(t, err, microvm.ErrBusy)
	if err := first.Detach(ctx); err != nil {
		t.Fatal(err)
	}
	position := first.Position()
	second := must(vm.AttachExec(ctx, "go-job", &microvm.ExecAttachOptions{Position: &position}))(t)
	defer second.Close()
	if !second.Writer() {
		t.Error("does not write")
	}
	listed := must(vm.Execs(ctx))(t) // the end of one before, without a name, may still be known
	job := listed[len(listed)-1]
	if job.ID != "go-job" || job.PID == 0 || job.Ended != nil {
		t.Error(listed)
	}
	if err := second.WriteStdin(ctx, []byte("it\n")); err != nil {
		t.Fatal(err)
	}
	if piece := must(second.Read(ctx))(t); string(piece.Data) != "got it\n" {
		t.Error(string(piece.Data))
	}
	if status := must(second.Wait(ctx))(t); status.Code != 5 {
		t.Error(status)
	}
}

func TestGuestSignals(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	exec := must(vm.Exec(ctx, &microvm.ExecOptions{Argv: []string{"sleep", "600"}, ID: "go-sleep"}))(t)
	defer exec.Close()
	if err := vm.SignalExec(ctx, "go-sleep", 0); !errors.Is(err, microvm.ErrInvalidArgument) {
		t.Error(err)
	}
	waited := make(chan microvm.ExitStatus, 1)
	go func() {
		status, err := vm.WaitExec(ctx, "go-sleep")
		if err != nil {
			t.Error(err)
		}
		waited <- status
	}()
	if err := exec.Signal(ctx, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := must(exec.Wait(ctx))(t); status.Signal != syscall.SIGTERM || status.String() != "signal: terminated" {
		t.Error(status)
	}
	if status := <-waited; status.Signal != syscall.SIGTERM {
		t.Error(status)
	}
}

func TestGuestCommandOutput(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	cmd := vm.Command(ctx, "sh", "-c", "echo $GREETING; pwd")
	cmd.Env, cmd.Dir = []string{"GREETING=hello"}, "/tmp"
	if out, err := cmd.Output(); err != nil || string(out) != "hello\n/tmp\n" {
		t.Error(string(out), err)
	}
	_, err := vm.Command(ctx, "sh", "-c", "echo why >&2; exit 7").Output()
	var exit *microvm.ExitError
	if !errors.As(err, &exit) || exit.Code != 7 || string(exit.Stderr) != "why\n" || err.Error() != "exit status 7" {
		t.Error(err, exit)
	}
	out, err := vm.Command(ctx, "sh", "-c", "echo a; sleep 0.2; echo b >&2; sleep 0.2; echo c").CombinedOutput()
	if err != nil || string(out) != "a\nb\nc\n" {
		t.Error(string(out), err)
	}
	if err := vm.Command(ctx, "/no/such").Run(); !errors.As(err, &exit) || exit.Code != 127 {
		t.Error(err)
	}
}

func TestGuestCommandStreams(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	cmd := vm.Command(ctx, "cat")
	cmd.Stdin = strings.NewReader(strings.Repeat("some text\n", 100_000))
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil || out.Len() != 1_000_000 {
		t.Error(out.Len(), err)
	}

	cmd = vm.Command(ctx, "sh", "-c", "while read line; do echo got $line; done; echo end >&2")
	stdin, stdout, stderr := must(cmd.StdinPipe())(t), must(cmd.StdoutPipe())(t), must(cmd.StderrPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for _, word := range []string{"one", "two"} {
		if _, err := io.WriteString(stdin, word+"\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != "got "+word {
			t.Error(lines.Text(), lines.Err())
		}
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(stderr); string(rest) != "end\n" || err != nil {
		t.Error(string(rest), err)
	}
	if err := cmd.Start(); !errors.Is(err, microvm.ErrInvalidArgument) {
		t.Error("a second Start:", err)
	}
}

type brokenStream struct{}

var errBroken = errors.New("broken")

func (brokenStream) Read([]byte) (int, error)  { return 0, errBroken }
func (brokenStream) Write([]byte) (int, error) { return 0, errBroken }

func TestGuestCommandWithStreamsThatFail(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	cmd := vm.Command(ctx, "echo", "x")
	cmd.Stdout = brokenStream{}
	if err := cmd.Run(); !errors.Is(err, errBroken) {
		t.Error(err)
	}
	cmd = vm.Command(ctx, "cat")
	cmd.Stdin = brokenStream{}
	if err := cmd.Run(); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

func TestGuestContextKillsACommand(t *testing.T) {
	vm := sharedVm(t)
	ctx, cancel := context.WithCancel(within(t))
	cmd := vm.Command(ctx, "sh", "-c", "echo begun; yes")
	cmd.ID = "go-killed"
	stdout := must(cmd.StdoutPipe())(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 6)); err != nil {
		t.Error(err)
	}
	cancel()
	if err := cmd.Wait(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for i := 0; ; i++ {
		listed := must(vm.Execs(within(t)))(t)
		if len(listed) == 0 || listed[0].PID == 0 {
			break
		}
		if i == 100 {
			t.Fatal(listed)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestGuestPty(t *testing.T) {
	ctx := within(t)
	vm := sharedVm(t)
	pty := must(vm.Pty(ctx, &microvm.PtyOptions{
		Argv: []string{"sh"}, Size: microvm.PtySize{Rows: 30, Columns: 100}, ID: "go-term",
	}))(t)
	defer pty.Close()
	stream := pty.Stream(ctx)
	if _, err := io.WriteString(stream, "stty size\r"); err != nil {
		t.Fatal(err)
	}
	waitForText(t, stream, "30 100")
	if err := pty.Resize(ctx, microvm.PtySize{Rows: 31, Columns: 101}); err != nil {
		t.Error(err)
	}
	if err := pty.Write(ctx, []byte("stty size\r")); err != nil {
		t.Fatal(err)
	}
	waitForText(t, stream, "31 101")
	watcher := must(vm.AttachPty(ctx, "go-term", &microvm.PtyAttachOptions{ReadOnly: true}))(t)
	defer watcher.Close()
	if watcher.Writer() || !pty.Writer() {
		t.Error("who writes")
	}
	waitForText(t, watcher.Stream(ctx), "31 101")
	if listed := must(vm.Ptys(ctx))(t); len(listed) != 1 || listed[0].Clients != 2 || listed[0].Size.Rows != 31 {
		t.Error(listed)
	}
	if err := pty.Write(ctx, []byte("exit 4\r")); err != nil {
		t.Fatal(err)
	}
	if status := must(pty.Wait(ctx))(t); status.Code != 4 {
		t.Error(status)
	}
	if status := must(watcher.Wait(ctx))(t); status.Code != 4 {
		t.Error(status)
	}
}

func waitForText(t *testing.T, from io.Reader, text string) {
	t.Helper()
	seen, buffer := "", make([]byte, 4096)
	for !strings.Contains(seen, text) {
		n, err := from.Read(buffer)
		if err != nil {
			t.Fatalf("%v after %q", err, seen)
		}
		seen += string(buffer[:n])
	}
}
