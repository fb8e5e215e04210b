#include "host/worker/directory_watches.hpp"

#include <poll.h>
#include <sys/inotify.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "base/thread_annotations.hpp"

namespace microvm::host {
namespace {

constexpr uint32_t kChanges =
    IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr int kReadsPerWake = 16;  // then the other sockets have their turn

}  // namespace

// What the watches share with the reactor, and what outlives both. Raising needs no more than the
// lock.
struct DirectoryWatches::Hub : std::enable_shared_from_this<Hub> {
  void add(Reactor& reactor, const std::filesystem::path& directory, Watch& watch)
      MICROVM_EXCLUDES(mutex);
  void remove(Watch& watch) MICROVM_EXCLUDES(mutex);
  void end_of_runtime() MICROVM_EXCLUDES(mutex);

 private:
  void open(Reactor& reactor) MICROVM_REQUIRES(mutex);
  void on_readable() MICROVM_EXCLUDES(mutex);
  void tell(const inotify_event& event, std::string_view name) MICROVM_REQUIRES(mutex);
  void keep_ticking(sys::Loop& loop, bool told) MICROVM_REQUIRES(mutex);
  void tick(sys::Loop& loop, bool told) MICROVM_EXCLUDES(mutex);

  base::Mutex mutex;
  base::Fd inotify MICROVM_GUARDED_BY(mutex);
  bool runtime_ended MICROVM_GUARDED_BY(mutex) = false;
  std::multimap<int, Watch*> watches MICROVM_GUARDED_BY(mutex);  // by the number of the directory
  std::array<bool, 2> ticking MICROVM_GUARDED_BY(mutex) = {};    // for those not told, those told
};

// Where the host has none to give, the next one who waits asks again.
void DirectoryWatches::Hub::open(Reactor& reactor) {
  if (inotify) return;
  inotify.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify) return;
  reactor.post([&reactor, fd = inotify.get(), self = shared_from_this()] {
    reactor.loop().watch(fd, POLLIN, [self](uint32_t) { self->on_readable(); });
  });
}

void DirectoryWatches::Hub::add(Reactor& reactor, const std::filesystem::path& directory,
                                Watch& watch) {
  const base::MutexLock lock(mutex);
  open(reactor);
  if (inotify) watch.directory_ = ::inotify_add_watch(inotify.get(), directory.c_str(), kChanges);
  watch.over_ = runtime_ended && watch.lasts_ == Lasts::as_the_runtime;
  watches.emplace(watch.directory_, &watch);
  const bool told = watch.directory_ != kUnwatched;
  if (std::exchange(ticking[told ? 1 : 0], true)) return;
  reactor.post([&reactor, told, self = shared_from_this()] {
    const base::MutexLock locked(self->mutex);
    self->keep_ticking(reactor.loop(), told);
  });
}

void DirectoryWatches::Hub::remove(Watch& watch) {
  const base::MutexLock lock(mutex);
  const int directory = watch.directory_;
  const auto [first, last] = watches.equal_range(directory);
  const auto found = std::find_if(first, last, [&](const auto& it) { return it.second == &watch; });
  if (found != last) watches.erase(found);
  if (directory == kUnwatched || watches.contains(directory)) return;
  static_cast<void>(::inotify_rm_watch(inotify.get(), directory));
}

void DirectoryWatches::Hub::end_of_runtime() {
  const base::MutexLock lock(mutex);
  runtime_ended = true;
  for (const auto& [directory, watch] : watches) {
    if (watch->lasts_ != Lasts::as_the_runtime) continue;
    watch->over_ = true;
    watch->seen_->raise();
  }
}

void DirectoryWatches::Hub::on_readable() {
  alignas(inotify_event) std::array<char, 4096> buffer;
  const base::MutexLock lock(mutex);
  for (int reads = 0; reads < kReadsPerWake; ++reads) {
    const ssize_t got = ::read(inotify.get(), buffer.data(), buffer.size());
    if (got <= 0) return;
    for (size_t at = 0; at < static_cast<size_t>(got);) {
      const auto& event = *reinterpret_cast<const inotify_event*>(buffer.data() + at);
      tell(event, event.len == 0 ? std::string_view() : std::string_view(event.name));
      at += sizeof(inotify_event) + event.len;
    }
  }
}

void DirectoryWatches::Hub::tell(const inotify_event& event, std::string_view name) {
  const bool missed_some = (event.mask & IN_Q_OVERFLOW) != 0;
  const auto [first, last] =
      missed_some ? std::pair(watches.begin(), watches.end()) : watches.equal_range(event.wd);
  for (auto it = first; it != last; ++it) {
    if (name.empty() || name.starts_with(it->second->prefix_)) it->second->seen_->raise();
  }
}

// Only while somebody waits.
void DirectoryWatches::Hub::keep_ticking(sys::Loop& loop, bool told) {
  loop.after(told ? kInAnyCase : kUntold, [&loop, told, weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->tick(loop, told);
  });
}

void DirectoryWatches::Hub::tick(sys::Loop& loop, bool told) {
  const base::MutexLock lock(mutex);
  bool any = false;
  for (const auto& [directory, watch] : watches) {
    if ((directory != kUnwatched) != told) continue;
    watch->seen_->raise();
    any = true;
  }
  ticking[told ? 1 : 0] = any;
  if (any) keep_ticking(loop, told);
}

DirectoryWatches::Watch::Watch(std::shared_ptr<Hub> hub, std::string prefix,
                               std::shared_ptr<const sys::EventFd> seen, Lasts lasts)
    : hub_(std::move(hub)), prefix_(std::move(prefix)), seen_(std::move(seen)), lasts_(lasts) {}

DirectoryWatches::Watch::~Watch() {
  hub_->remove(*this);
}

DirectoryWatches::DirectoryWatches(Reactor& reactor)
    : hub_(std::make_shared<Hub>()), reactor_(reactor) {}

DirectoryWatches::~DirectoryWatches() = default;

std::unique_ptr<DirectoryWatches::Watch> DirectoryWatches::watch(
    const std::filesystem::path& directory, std::string prefix,
    std::shared_ptr<const sys::EventFd> seen, Lasts lasts) {
  auto watch = std::make_unique<Watch>(hub_, std::move(prefix), std::move(seen), lasts);
  hub_->add(reactor_, directory, *watch);
  return watch;
}

void DirectoryWatches::end_of_runtime() {
  hub_->end_of_runtime();
}

}  // namespace microvm::host
