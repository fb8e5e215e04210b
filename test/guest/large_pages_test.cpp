// Memory files whose pages are 64 KiB: around each page that a suspend writes there are fifteen
// that the guest did not change, and the kernel calls all of them data.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <vector>

#include "fixture.hpp"
#include "suite/skip.hpp"

using namespace guest_test;
using namespace microvm;

namespace {

constexpr const char* kSetting = "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/shmem_enabled";

// Always, and as it was before at the end.
class LargePages {
 public:
  LargePages() {
    std::string text;
    std::getline(std::ifstream(kSetting), text);
    const size_t begin = text.find('[');
    if (begin != std::string::npos) before_ = text.substr(begin + 1, text.find(']') - begin - 1);
    set("always");
  }
  ~LargePages() { set(before_); }
  LargePages(const LargePages&) = delete;
  LargePages& operator=(const LargePages&) = delete;

 private:
  static void set(const std::string& value) { std::ofstream(kSetting) << value; }
  std::string before_ = "never";
};

// Bytes of data that one written page makes.
off_t data_of_one_page() {
  const int fd = ::memfd_create("one page", MFD_CLOEXEC);
  const std::vector<char> page(4096, 'x');
  bool ok = fd >= 0 && ::ftruncate(fd, 1 << 20) == 0 &&
            ::pwrite(fd, page.data(), page.size(), 5 * 4096) == 4096;
  const off_t begin = ok ? ::lseek(fd, 0, SEEK_DATA) : 0;
  const off_t end = ok ? ::lseek(fd, begin, SEEK_HOLE) : 0;
  ::close(fd);
  return end - begin;
}

// Sixteen megabytes that the image does not have, and a word of every page of them.
constexpr const char* kFill = R"(
cat > /tmp/pages.py <<'PY'
import mmap, os, struct, sys, time
count = 4000
memory = mmap.mmap(-1, count * 4096)
def put(page, value): struct.pack_into("<Q", memory, page * 4096 + 8, value)
def get(page): return struct.unpack_from("<Q", memory, page * 4096 + 8)[0]
for page in range(count): put(page, page + 1)
expected = [page + 1 for page in range(count)]
round = 0
while True:
    if os.path.exists("/tmp/change"):
        os.remove("/tmp/change")
        round += 1
        for page in range(round * 7, count, 97):
            put(page, page * 1000 + round)
            expected[page] = page * 1000 + round
        open("/tmp/changed", "w").write(str(round))
    if os.path.exists("/tmp/check"):
        wrong = sum(get(page) != expected[page] for page in range(count))
        os.remove("/tmp/check")
        open("/tmp/new", "w").write(f"{wrong} wrong")
        os.rename("/tmp/new", "/tmp/checked")
    time.sleep(0.05)
PY
nohup python3 /tmp/pages.py >/tmp/pages.log 2>&1 &
)";
constexpr const char* kChange =
    "rm -f /tmp/changed; touch /tmp/change; while ! test -e /tmp/changed; do sleep 0.05; done";
constexpr const char* kCheck =
    "rm -f /tmp/checked; touch /tmp/check; while ! test -e /tmp/checked; do sleep 0.05; done; "
    "cat /tmp/checked /tmp/pages.log";

}  // namespace

TEST_CASE("memory is right after suspends, forks and checkpoints over pages of 64 KiB") {
  if (::access(kSetting, W_OK) != 0) SKIP_CASE("needs pages of 64 KiB for memory files");
  const LargePages large;
  REQUIRE(data_of_one_page() == 65536);
  RunningVm vm = run_counter();
  shell(vm, kFill);
  for (int round = 0; round < 3; ++round) {
    shell(vm, kChange);
    suspend(vm);
    CHECK(shell(vm, kCheck) == "0 wrong");
  }
  shell(vm, kChange);
  auto forks = vm.fork({.count = 2});
  REQUIRE_MESSAGE(forks, why(forks));
  for (Vm& fork : *forks) {
    RunningVm mine(fork);
    CHECK(shell(mine, kCheck) == "0 wrong");
    suspend(mine);
    CHECK(shell(mine, kCheck) == "0 wrong");
  }
  const auto checkpoint = vm.checkpoint();
  REQUIRE_MESSAGE(checkpoint, why(checkpoint));
  const auto image = runtime().commit(checkpoint->id, "large-pages");
  REQUIRE_MESSAGE(image, why(image));
  {
    auto started = runtime().run("large-pages");
    REQUIRE_MESSAGE(started, why(started));
    RunningVm mine(*started);
    CHECK(shell(mine, kCheck) == "0 wrong");
  }
  CHECK(shell(vm, kCheck) == "0 wrong");
  REQUIRE(vm.terminate());
  CHECK(runtime().remove_image("large-pages:" + image->version));
  CHECK(runtime().remove_checkpoint(checkpoint->id));
}
