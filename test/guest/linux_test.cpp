// A guest is a full Linux machine: what a program needs of the kernel is there when it is asked
// for.
#include "fixture.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

// Python that says "ok" when all of it worked.
void check_python(Vm& vm, const std::string& name, const std::string& program) {
  CAPTURE(name);
  ExecOptions options;
  options.argv = {"timeout", "-s", "KILL", "60", "python3", "-u", "-c", program};
  const auto result = vm.exec_collect(options);
  REQUIRE_MESSAGE(result, why(result));
  INFO(result->err << result->status.code << shell(vm, "dmesg | tail -5"));
  CHECK(result->out == "ok\n");
}

std::string loaded(Vm& vm, const std::string& module) {
  return shell(vm, "[ -d /sys/module/" + module + " ] && echo yes || echo no");
}

// Netlink by hand: the images of these tests have no ip.
constexpr const char* kNetlink = R"(
import os, socket, struct
def attribute(kind, body):
    return struct.pack('HH', 4 + len(body), kind) + body + bytes(-len(body) % 4)
def ask(protocol, kind, body, flags=5):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    s.bind((0, 0))
    s.send(struct.pack('IHHII', 16 + len(body), kind, flags, 1, 0) + body)
    answer = s.recv(65536)
    if struct.unpack_from('H', answer, 4)[0] == 2:
        code = struct.unpack_from('i', answer, 16)[0]
        if code: raise OSError(-code, os.strerror(-code))
    return answer
def new_link(name, kind):
    ask(0, 16, bytes(16) + attribute(3, name + b'\0') + attribute(18, attribute(1, kind)), 0x605)
)";

constexpr const char* kTun = R"(
import fcntl, os, struct
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', b'tun7', 0x1001))
assert os.path.exists('/sys/class/net/tun7')
print('ok')
)";

// A FAT of 64 sectors, its directory empty: mounting it takes loop, vfat, fat and a code page.
constexpr const char* kLoop = R"(
import ctypes, fcntl, os, struct
boot = struct.pack('<3s8sHBHBHHBHHHII', b'\xeb\x3c\x90', b'mvm     ', 512, 1, 1, 2, 16, 64, 0xf8, 1, 1, 1, 0, 0)
boot += struct.pack('<BBBI11s8s', 0x80, 0, 0x29, 7, b'TEST       ', b'FAT12   ')
image = boot.ljust(510, b'\0') + b'\x55\xaa' + 2 * b'\xf8\xff\xff'.ljust(512, b'\0')
open('/tmp/fat', 'wb').write(image.ljust(64 * 512, b'\0'))
number = fcntl.ioctl(os.open('/dev/loop-control', os.O_RDWR), 0x4c82)
loop = os.open('/dev/loop%d' % number, os.O_RDWR)
fcntl.ioctl(loop, 0x4c00, os.open('/tmp/fat', os.O_RDWR))
os.makedirs('/tmp/mnt', exist_ok=True)
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b'/dev/loop%d' % number, b'/tmp/mnt', b'vfat', 0, None):
    raise OSError(ctypes.get_errno(), 'mount')
open('/tmp/mnt/file', 'w').write('kept')
assert open('/tmp/mnt/FILE').read() == 'kept'
print('ok')
)";

// A file system in this very process: the kernel asks, it answers FUSE_INIT and statfs.
constexpr const char* kFuse = R"(
import ctypes, os, struct, threading
fuse = os.open('/dev/fuse', os.O_RDWR)
def serve():
    while True:
        request = os.read(fuse, 1 << 17)
        length, opcode, unique = struct.unpack_from('IIQ', request)
        body = b''
        if opcode == 26: body = struct.pack('IIIIHHIIHH32x', 7, 31, 0, 0, 12, 9, 4096, 1, 1, 0)
        if opcode == 17: body = struct.pack('QQQQQIIII24x', 1234, 0, 0, 0, 0, 512, 255, 512, 0)
        error = 0 if body else -38
        os.write(fuse, struct.pack('IiQ', 16 + len(body), error, unique) + body)
os.makedirs('/tmp/fuse', exist_ok=True)
libc = ctypes.CDLL(None, use_errno=True)
options = b'fd=%d,rootmode=40000,user_id=0,group_id=0' % fuse
if libc.mount(b'none', b'/tmp/fuse', b'fuse', 0, options): raise OSError(ctypes.get_errno(), 'mount')
threading.Thread(target=serve, daemon=True).start()
assert os.statvfs('/tmp/fuse').f_blocks == 1234
libc.umount2(b'/tmp/fuse', 2)
print('ok', flush=True)
os._exit(0)
)";

// "r0 = 0; exit", a socket filter.
constexpr const char* kBpf = R"(
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
code = struct.pack('<BBhi', 0xb7, 0, 0, 0) + struct.pack('<BBhi', 0x95, 0, 0, 0)
instructions = ctypes.create_string_buffer(code)
license = ctypes.create_string_buffer(b'GPL')
attributes = struct.pack('IIQQ', 1, 2, ctypes.addressof(instructions), ctypes.addressof(license)).ljust(128, b'\0')
fd = libc.syscall(321, 5, attributes, 128)
if fd < 0: raise OSError(ctypes.get_errno(), 'bpf')
print('ok')
)";

}  // namespace

TEST_CASE("full linux: modules are there, and load when they are asked for") {
  RunningVm vm = run_counter();
  CHECK(shell(vm, "grep -c /lib/modules/$(uname -r) /proc/mounts") == "1\n");
  CHECK(shell(vm, "ls /lib/modules/$(uname -r)/modules.dep.bin | wc -l") == "1\n");
  CHECK(shell_result(vm, "touch /lib/modules/$(uname -r)/x").status.code != 0);
  CHECK(loaded(vm, "wireguard") == "no\n");
  check_python(vm, "wireguard",
               std::string(kNetlink) + "new_link(b'wg7', b'wireguard')\nprint('ok')");
  CHECK(loaded(vm, "wireguard") == "yes\n");
  check_python(vm, "bridge", std::string(kNetlink) + "new_link(b'br7', b'bridge')\nprint('ok')");
  // NFT_MSG_GETGEN of nf_tables, over nfnetlink.
  check_python(vm, "nftables", std::string(kNetlink) + "ask(12, 0xa10, bytes(4), 1)\nprint('ok')");
  check_python(vm, "tun", kTun);
  check_python(vm, "loop", kLoop);
  CHECK(loaded(vm, "vfat") == "yes\n");
  check_python(vm, "fuse", kFuse);
  check_python(vm, "bpf", kBpf);
}

TEST_CASE("full linux: modules load after a suspend, and in a fork") {
  RunningVm vm = run_counter();
  suspend(vm);
  REQUIRE(vm.resume());
  check_python(vm, "tun", kTun);
  auto forks = vm.fork();
  REQUIRE_MESSAGE(forks, why(forks));
  RunningVm fork(std::move(forks->front()));
  check_python(fork, "loop", kLoop);
  CHECK(loaded(vm, "loop") == "no\n");
}

TEST_CASE("full linux: control groups as a container engine needs them") {
  RunningVm vm = run_counter();
  CHECK(shell(vm, "cat /proc/self/cgroup") == "0::/programs\n");
  const std::string controllers = shell(vm, "cat /sys/fs/cgroup/cgroup.controllers");
  for (const char* name : {"cpuset", "cpu", "io", "memory", "pids"}) CHECK(has(controllers, name));
  CHECK(
      shell(
          vm,
          "cd /sys/fs/cgroup && echo '+memory +pids +cpu +cpuset +io' > cgroup.subtree_control && "
          "mkdir engine && echo 50M > engine/memory.max && cat engine/memory.max") == "52428800\n");
  // What runs there is frozen with all others, and is alive again after it.
  shell(vm,
        "(echo 0 > /sys/fs/cgroup/engine/cgroup.procs && while sleep 0.05; do date +%s%N > "
        "/tmp/beat; done) "
        "> /dev/null 2>&1 &");
  CHECK(eventually([&] { return shell_result(vm, "cat /tmp/beat").status.code == 0; }));
  suspend(vm);
  REQUIRE(vm.resume());
  const std::string beat = shell(vm, "cat /tmp/beat");
  CHECK(eventually([&] { return shell(vm, "cat /tmp/beat") != beat; }));
  CHECK(shell(vm, "cat /sys/fs/cgroup/engine/cgroup.events | grep -c 'frozen 0'") == "1\n");
  CHECK(shell(vm, "grep -cE '^Max (processes|locked memory) +unlimited' /proc/self/limits") ==
        "2\n");
  CHECK(shell(vm, "grep -c '^.* / / .* shared:' /proc/self/mountinfo") == "1\n");
}
