package microvm_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	microvm "libmicrovm.dev/go"
)

var background = context.Background()

func openRuntime(t *testing.T, options *microvm.RuntimeOptions) *microvm.Runtime {
	t.Helper()
	given := microvm.RuntimeOptions{}
	if options != nil {
		given = *options
	}
	given.DataDir = filepath.Join(t.TempDir(), "data")
	rt, err := microvm.Open(background, &given)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rt.Close() })
	return rt
}

// writeRoot makes a tar that is a root file system of so many bytes.
func writeRoot(t *testing.T, size int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.tar")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	to := tar.NewWriter(file)
	content := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	for _, header := range []tar.Header{
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "etc/data", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))},
	} {
		if err := to.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Write(content[:header.Size]); err != nil {
			t.Fatal(err)
		}
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantError(t *testing.T, err error, code microvm.ErrorCode) {
	t.Helper()
	var failed *microvm.Error
	if !errors.As(err, &failed) {
		t.Fatalf("%T %v, not an Error", err, err)
	}
	if !errors.Is(err, code) || failed.Code != code || failed.Message == "" {
		t.Fatalf("%v: %v, not %v", failed.Code, err, code)
	}
}

func TestErrorsHaveCodeAndLine(t *testing.T) {
	rt := openRuntime(t, nil)
	_, err := rt.Image(background, "nothing")
	wantError(t, err, microvm.ErrNotFound)
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, microvm.ErrBusy) || errors.Is(err, fs.ErrExist) {
		t.Error("other errors than it is")
	}
	_, err = rt.Attach(background, "nothing")
	wantError(t, err, microvm.ErrNotFound)
	wantError(t, rt.RemoveKernel(background, "nothing"), microvm.ErrNotFound)
	_, err = rt.Build(background, nil)
	wantError(t, err, microvm.ErrInvalidArgument)
}

func TestErrorCodesHaveTheLibrarysNames(t *testing.T) {
	for code, want := range map[microvm.ErrorCode]string{
		microvm.ErrInvalidArgument: "invalid_argument", microvm.ErrNotFound: "not_found",
		microvm.ErrAlreadyExists: "already_exists", microvm.ErrPermissionDenied: "permission_denied",
		microvm.ErrUnsupported: "unsupported", microvm.ErrBusy: "busy", microvm.ErrCancelled: "cancelled",
		microvm.ErrDeadlineExceeded: "deadline_exceeded", microvm.ErrOutOfDisk: "out_of_disk",
		microvm.ErrOutOfMemory: "out_of_memory", microvm.ErrCorrupt: "corrupt",
		microvm.ErrIncompatibleCPU: "incompatible_cpu", microvm.ErrKVMUnavailable: "kvm_unavailable",
		microvm.ErrKVMUnsuitable: "kvm_unsuitable", microvm.ErrBuildFailed: "build_failed",
		microvm.ErrSyntax: "syntax", microvm.ErrGuestFailed: "guest_failed", microvm.ErrVmGone: "vm_gone",
		microvm.ErrConnectionRefused: "connection_refused", microvm.ErrIO: "io",
		microvm.ErrProtocol: "protocol", microvm.ErrInternal: "internal", microvm.ErrVmSuspended: "vm_suspended",
	} {
		if code.String() != want || code.Error() != want {
			t.Errorf("%d: %s, not %s", code, code, want)
		}
	}
	if microvm.ErrorCode(25).String() == microvm.ErrVmSuspended.String() {
		t.Error("an unknown code has a known one's name")
	}
}

func TestVersions(t *testing.T) {
	if microvm.Version() == "" || microvm.ABIVersion() == 0 {
		t.Error(microvm.Version(), microvm.ABIVersion())
	}
}

func TestEmptyDataDirectory(t *testing.T) {
	rt := openRuntime(t, nil)
	if info, err := os.Stat(rt.DataDir()); err != nil || !info.IsDir() {
		t.Error(err)
	}
	images, err := rt.Images(background)
	if images == nil || len(images) != 0 || err != nil {
		t.Error(images, err)
	}
	vms, err := rt.Vms(background)
	if len(vms) != 0 || err != nil {
		t.Error(vms, err)
	}
	report, err := rt.Prune(background, &microvm.PruneOptions{DryRun: true})
	if err != nil || len(report.Items) != 0 || report.Bytes != 0 {
		t.Error(report, err)
	}
}

func TestTextWithAZeroByteIsRefused(t *testing.T) {
	rt := openRuntime(t, nil)
	wantError(t, rt.RemoveKernel(background, "a\x00b"), microvm.ErrInvalidArgument)
	_, err := rt.Build(background, &microvm.BuildOptions{Context: ".", Tag: "x", BuildArgs: map[string]string{"A": "\x00"}})
	wantError(t, err, microvm.ErrInvalidArgument)
	_, err = rt.Run(background, "a\x00b", nil)
	wantError(t, err, microvm.ErrInvalidArgument)
}

func TestWhatWasClosedSaysSo(t *testing.T) {
	rt := openRuntime(t, nil)
	events, err := rt.Events(background, &microvm.EventOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	events.Close()
	_, err = events.Next(background)
	wantError(t, err, microvm.ErrInvalidArgument)
	rt.Close()
	rt.Close()
	_, err = rt.Images(background)
	wantError(t, err, microvm.ErrInvalidArgument)
	_, err = rt.Run(background, "x", nil)
	wantError(t, err, microvm.ErrInvalidArgument)
}

func TestWhatWasNeverOpenedSaysSo(t *testing.T) {
	var holder struct {
		before int
		rt     microvm.Runtime
		vm     microvm.Vm
		exec   microvm.Exec
		pty    microvm.Pty
		events microvm.EventStream
		logs   microvm.LogStream
		flows  microvm.FlowStream
		watch  microvm.Watch
		start  microvm.VmStart
	}
	_, err := holder.rt.Images(background)
	wantError(t, err, microvm.ErrInvalidArgument)
	_, err = holder.vm.Info()
	wantError(t, err, microvm.ErrInvalidArgument)
	_, err = holder.vm.Wait(background)
	wantError(t, err, microvm.ErrInvalidArgument)
	_, err = holder.vm.Command(background, "true").Output()
	wantError(t, err, microvm.ErrInvalidArgument)
	_, err = holder.exec.Read(background)
	wantError(t, err, microvm.ErrInvalidArgument)
	wantError(t, holder.exec.CloseStdin(background), microvm.ErrInvalidArgument)
	_, err = holder.pty.Read(background)
	wantError(t, err, microvm.ErrInvalidArgument)
	_, err = holder.events.Next(background)
	wantError(t, err, microvm.ErrInvalidArgument)
	_, err = holder.flows.Next(background)
	wantError(t, err, microvm.ErrInvalidArgument)
	_, err = holder.vm.Network(background)
	wantError(t, err, microvm.ErrInvalidArgument)
	_, err = holder.start.Take(background)
	wantError(t, err, microvm.ErrInvalidArgument)
	for _, object := range []interface{ Close() error }{
		&holder.rt, &holder.vm, &holder.exec, &holder.pty, &holder.events, &holder.logs, &holder.flows, &holder.watch, &holder.start,
	} {
		if err := object.Close(); err != nil {
			t.Errorf("%T: %v", object, err)
		}
	}
}

func TestContextThatIsDoneBeforehand(t *testing.T) {
	rt := openRuntime(t, nil)
	ctx, cancel := context.WithCancel(background)
	cancel()
	for what, call := range map[string]func() error{
		"Open":       func() error { _, err := microvm.Open(ctx, nil); return err },
		"Images":     func() error { _, err := rt.Images(ctx); return err },
		"Run":        func() error { _, err := rt.Run(ctx, "nothing", nil); return err },
		"ImportBase": func() error { _, err := rt.ImportBase(ctx, "x", "/nothing", nil); return err },
		"Events":     func() error { _, err := rt.Events(ctx, nil); return err },
	} {
		err := call()
		if !errors.Is(err, context.Canceled) || !errors.Is(err, microvm.ErrCancelled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ctx, cancel = context.WithDeadline(background, time.Unix(1, 0))
	defer cancel()
	_, err := rt.Images(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, microvm.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if timeout, ok := err.(interface{ Timeout() bool }); !ok || !timeout.Timeout() {
		t.Error("no timeout to those who ask")
	}
}

func TestContextEndsACallInIt(t *testing.T) {
	rt := openRuntime(t, nil)
	root := writeRoot(t, 64<<20)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	_, err := rt.ImportBase(ctx, "x", root, &microvm.ImportBaseOptions{
		DiskBytes: 256 << 20,
		Progress:  func(microvm.Progress) { cancel() },
	})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, microvm.ErrCancelled) {
		t.Fatal(err)
	}
	bases, err := rt.Bases(background)
	if len(bases) != 0 || err != nil {
		t.Fatal(bases, err)
	}
}

func TestProgressIsTold(t *testing.T) {
	rt := openRuntime(t, nil)
	var last microvm.Progress
	calls := 0
	info, err := rt.ImportBase(background, "tiny:1", writeRoot(t, 4<<20), &microvm.ImportBaseOptions{
		DiskBytes: 64 << 20,
		Progress:  func(p microvm.Progress) { last, calls = p, calls+1 },
	})
	if err != nil {
		t.Fatal(err)
	}
	if calls == 0 || last.Total < 4<<20 || last.Done > last.Total {
		t.Error(calls, last)
	}
	bases, err := rt.Bases(background)
	if err != nil || len(bases) != 1 || bases[0] != *info || info.Name != "tiny:1" || info.SizeBytes != 64<<20 {
		t.Error(bases, info, err)
	}
	if err := rt.RemoveBase(background, "tiny:1"); err != nil {
		t.Error(err)
	}
}

func TestPanicInProgressReachesTheCaller(t *testing.T) {
	rt := openRuntime(t, nil)
	root := writeRoot(t, 16<<20)
	type mine struct{ n int }
	func() {
		defer func() {
			if got := recover(); got != (mine{7}) {
				t.Errorf("recovered %v", got)
			}
		}()
		_, err := rt.ImportBase(background, "x", root, &microvm.ImportBaseOptions{
			DiskBytes: 64 << 20, Progress: func(microvm.Progress) { panic(mine{7}) },
		})
		t.Error("returned", err)
	}()
	bases, err := rt.Bases(background)
	if len(bases) != 0 || err != nil {
		t.Error(bases, err)
	}
	if _, err := rt.ImportBase(background, "x", root, &microvm.ImportBaseOptions{DiskBytes: 64 << 20}); err != nil {
		t.Error("afterwards:", err)
	}
}

// Each of these calls is in the library for some ten milliseconds.
func TestManyCallsHoldFewThreads(t *testing.T) {
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	var calls sync.WaitGroup
	for i := 0; i < 200; i++ {
		calls.Add(1)
		go func() {
			defer calls.Done()
			_ = microvm.ProbeKVM(ctx) // whatever this machine can do
		}()
	}
	over := make(chan struct{})
	go func() {
		calls.Wait()
		close(over)
	}()
	most := 0
	for running := true; running; {
		if n := threads(t); n > most {
			most = n
		}
		select {
		case <-over:
			running = false
		case <-time.After(time.Millisecond):
		}
	}
	if most > 32 {
		t.Errorf("%d threads", most)
	}
}

// Each call tells something, and waits for its return: were it told there, and were what it is told to
// makes calls itself, all places of calls would be taken by those that wait.
func TestWhatIsToldMayMakeCalls(t *testing.T) {
	within, cancel := context.WithTimeout(background, 10*time.Second)
	defer cancel()
	var rt *microvm.Runtime
	const calls = 48
	told := make(chan struct{}, 2*calls)
	rt = openRuntime(t, &microvm.RuntimeOptions{Log: func(line string) {
		if _, err := rt.Vms(within); err != nil {
			t.Error(line, err)
		}
		told <- struct{}{}
	}})
	damaged := filepath.Join(rt.DataDir(), "images", "bad", "1")
	if err := os.MkdirAll(damaged, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(damaged, "manifest.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	var made sync.WaitGroup
	for i := 0; i < calls; i++ {
		made.Add(1)
		go func() {
			defer made.Done()
			if _, err := rt.Images(within); err != nil {
				t.Error(err)
			}
		}()
	}
	made.Wait()
	for i := 0; i < calls; i++ {
		select {
		case <-told:
		case <-within.Done():
			t.Fatal(i)
		}
	}
	rt.Close()
	if len(told) != 0 {
		t.Error(len(told), "told twice")
	}
}

func TestManyEventStreamsHoldNoThread(t *testing.T) {
	const count = 100
	rt := openRuntime(t, nil)
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	failed := make(chan error, count)
	var streams []*microvm.EventStream
	for i := 0; i < count; i++ {
		events, err := rt.Events(ctx, &microvm.EventOptions{Follow: true})
		if err != nil {
			t.Fatal(i, err)
		}
		streams = append(streams, events)
		ctx := ctx
		if i%2 == 0 {
			ctx = background // Close ends it
		}
		go func() {
			_, err := events.Next(ctx)
			failed <- err
		}()
	}
	time.Sleep(200 * time.Millisecond) // until they wait
	if n := threads(t); n > 32 {
		t.Errorf("%d threads", n)
	}
	cancel()
	for i := 0; i < count/2; i++ {
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	for _, events := range streams {
		events.Close()
	}
	for i := 0; i < count/2; i++ {
		wantError(t, <-failed, microvm.ErrInvalidArgument)
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

func TestClosingUnderCalls(t *testing.T) {
	for i := 0; i < 10; i++ {
		rt := openRuntime(t, nil)
		var calls sync.WaitGroup
		for j := 0; j < 32; j++ {
			calls.Add(1)
			go func() {
				defer calls.Done()
				for {
					if _, err := rt.Vms(background); err != nil {
						if !errors.Is(err, microvm.ErrInvalidArgument) {
							t.Error(err)
						}
						return
					}
				}
			}()
		}
		time.Sleep(time.Millisecond)
		rt.Close()
		calls.Wait()
	}
}

func TestWhatIsForgottenIsCollected(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	before := openFiles(t)
	for i := 0; i < 20; i++ {
		if _, err := microvm.Open(background, &microvm.RuntimeOptions{DataDir: dir}); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < 100 && openFiles(t) > before; i++ {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files are open, %d were", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// The library is neither disturbed by signals that come while it works, nor does it take them.
func TestSignalsWhileTheLibraryWorks(t *testing.T) {
	rt := openRuntime(t, nil)
	root := writeRoot(t, 16<<20)
	came := make(chan os.Signal, 1)
	signal.Notify(came, syscall.SIGUSR1)
	defer signal.Stop(came)
	stop := make(chan struct{})
	var storm sync.WaitGroup
	storm.Add(1)
	go func() {
		defer storm.Done()
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
				_ = syscall.Kill(os.Getpid(), syscall.SIGUSR1)
				_ = syscall.Kill(os.Getpid(), syscall.SIGURG)
			}
		}
	}()
	for i := 0; i < 3; i++ {
		if _, err := rt.ImportBase(background, "x", root, &microvm.ImportBaseOptions{DiskBytes: 64 << 20}); err != nil {
			t.Error(err)
		}
		if _, err := microvm.ProbeHost(background, nil); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	storm.Wait()
	select {
	case <-came:
	case <-time.After(time.Second):
		t.Error("no signal came")
	}
}

func TestProbeHost(t *testing.T) {
	findings, err := microvm.ProbeHost(background, nil)
	if err != nil || len(findings) < 2 || findings[0].Name != "kvm" || findings[0].Is == "" {
		t.Fatal(findings, err)
	}
	err = microvm.ProbeKVM(background)
	if (findings[0].State == microvm.FindingProblem) != (err != nil) {
		t.Error(findings[0], err)
	}
	if microvm.FindingProblem.String() != "problem" {
		t.Error(microvm.FindingProblem)
	}
}
