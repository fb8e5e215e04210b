#include "host/saved/saved_pages.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <ranges>
#include <thread>

#include "host/base/beside.hpp"
#include "host/saved/layer_checks.hpp"
#include "host/store/files.hpp"
#include "host/store/rfc3339.hpp"
#include "state/memory_file.hpp"
#include "state/overlay.hpp"
#include "state/pages.hpp"
#include "sys/file.hpp"

namespace microvm::host {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kMaxThreads = 4;

unsigned threads() {
  return std::clamp(std::thread::hardware_concurrency(), 1u, kMaxThreads);
}

// Removes the files it was told of unless it is dismissed.
class Undo {
 public:
  explicit Undo(fs::path dir) : dir_(std::move(dir)) {}
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo() {
    std::error_code ec;
    for (const std::string& name : names_) fs::remove(dir_ / name, ec);
  }
  void add(const std::string& name) { names_.push_back(name); }
  void dismiss() { names_.clear(); }

 private:
  fs::path dir_;
  std::vector<std::string> names_;
};

// Where the kernel gives shared memory huge pages of its own accord, one page written to a memory
// file takes two megabytes.
bool memory_files_are_thrifty() {
  const auto setting =
      read_text_file("/sys/kernel/mm/transparent_hugepage/shmem_enabled", 4096).value_or("");
  const auto is = [&](const char* value) { return setting.find(value) != std::string::npos; };
  return !is("[always]") && !is("[within_size]") && !is("[force]");
}

Result<void> sync_fd(const base::Fd& fd, const fs::path& path) {
  if (::fsync(fd.get()) == 0) return {};
  return base::fail_errno("sync " + path.string());
}

Result<void> save_pages(const Captured& captured, const fs::path& path, const base::Fd& out,
                        const std::atomic<bool>* stop) {
  state::PackPagesOptions options;
  options.threads = threads();
  options.memory_bytes = captured.memory_bytes;
  options.stop = stop;
  const auto packed = state::pack_pages(captured.pages.get(), out.get(), options);
  if (!packed)
    return base::fail(packed.error().code, path.string() + ": " + packed.error().message);
  return sync_fd(out, path);
}

Result<void> save_state(int state, const fs::path& path, const base::Fd& out) {
  const auto size = sys::file_size(state);
  if (!size) return base::fail(size.error());
  std::vector<std::byte> bytes(*size);
  if (auto ok = sys::pread_full(state, bytes, 0); !ok) return ok;
  if (auto ok = pwrite_all(out.get(), bytes, 0, path.string()); !ok) return ok;
  return sync_fd(out, path);
}

Result<void> link_into(const fs::path& from, const fs::path& to, const std::string& name) {
  if (from == to || ::link((from / name).c_str(), (to / name).c_str()) == 0) return {};
  return base::fail_errno("link " + (from / name).string());
}

}  // namespace

Result<base::Fd> make_overlay(const fs::path& dir, uint64_t bytes) {
  if (memory_files_are_thrifty()) return sys::memory_file("microvm-pages", bytes);
  const auto directory = open_file(dir, O_RDONLY | O_DIRECTORY);
  if (!directory) return base::fail(directory.error());
  auto file = sys::open_unnamed(directory->get());
  if (!file) return file;
  if (::ftruncate(file->get(), static_cast<off_t>(bytes)) != 0) return base::fail_errno("overlay");
  return file;
}

Result<SavedState> save_captured(const Captured& captured, const fs::path& vm_dir,
                                 const fs::path& to, const std::atomic<bool>* stop,
                                 const Limits& limits) {
  const auto number = next_file_number(vm_dir);
  if (!number) return base::fail(number.error());
  SavedState saved{.saved = rfc3339_now(),
                   .layers = captured.layers,
                   .pages = captured.pages_before,
                   .state = numbered_file(VmFileKind::state, *number)};
  Undo undo(to);
  if (to != vm_dir) {
    for (const auto* names : {&saved.layers, &saved.pages}) {
      for (const std::string& name : *names) {
        if (auto ok = link_into(vm_dir, to, name); !ok) return base::fail(ok.error());
        undo.add(name);
      }
    }
  }
  saved.pages.push_back(numbered_file(VmFileKind::pages, *number));
  const auto write = [&](const std::string& name, auto&& fill) -> Result<void> {
    const auto out = create_numbered_file(to, name);
    if (!out) return base::fail(out.error());
    undo.add(name);
    return fill(to / name, *out);
  };
  // One that can not be read is named by the resume that needs it, and here nothing is carried
  // over.
  const auto known = read_saved(vm_dir).value_or(std::nullopt);
  Result<void> checked;
  // The layers are read while the pages are packed.
  Beside checking(
      [&] { checked = add_checks(saved, known, to, CallCheck(limits, "check the disk layers")); },
      "check the disk layers");
  auto ok = write(saved.pages.back(), [&](const fs::path& path, const base::Fd& out) {
    return save_pages(captured, path, out, stop);
  });
  if (ok) {
    ok = write(saved.state, [&](const fs::path& path, const base::Fd& out) {
      return save_state(captured.state.get(), path, out);
    });
  }
  checking.wait();
  if (ok) ok = checked;
  if (!ok) return base::fail(ok.error());
  undo.dismiss();
  return saved;
}

Result<base::Fd> expand_pages(const fs::path& dir, const SavedState& saved, uint64_t memory_bytes) {
  auto overlay = make_overlay(dir, memory_bytes);
  if (!overlay) return overlay;
  state::PageRuns runs(memory_bytes / state::kPageBytes);
  for (const std::string& name : saved.pages | std::views::reverse) {
    const auto file = open_file(dir / name, O_RDONLY | O_NOFOLLOW);
    if (!file) return base::fail(file.error());
    const auto done =
        state::unpack_pages(file->get(), overlay->get(), memory_bytes, threads(), runs);
    if (!done) {
      return base::fail(done.error().code, (dir / name).string() + ": " + done.error().message);
    }
    runs = state::join({runs, *done}, memory_bytes / state::kPageBytes);
  }
  if (auto ok = state::append_page_list(overlay->get(), memory_bytes, runs); !ok) {
    return base::fail(ok.error());
  }
  return overlay;
}

}  // namespace microvm::host
