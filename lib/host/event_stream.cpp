#include "host/event_stream.hpp"

#include <poll.h>

#include "host/base/home_process.hpp"
#include "host/base/limits.hpp"

namespace microvm {

namespace {

constexpr const char* kReadEvents = "read the events";

}  // namespace

struct [[gnu::visibility("hidden")]] EventStream::Impl {
  explicit Impl(host::EventReader opened) : reader(std::move(opened)) {}

  const host::HomeProcess home;
  host::EventReader reader;
  // Raised as long as the next look may find something, for good when it is over.
  std::shared_ptr<const sys::EventFd> seen = std::make_shared<const sys::EventFd>();
  std::unique_ptr<host::DirectoryWatches::Watch> watch;  // none: it does not follow
};

EventStream::EventStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
EventStream::EventStream(EventStream&&) noexcept = default;
EventStream& EventStream::operator=(EventStream&& other) noexcept {
  EventStream moved(std::move(other));
  impl_.swap(moved.impl_);
  return *this;
}
EventStream::~EventStream() {
  host::leave_unless_home(impl_);
}

int EventStream::fd() const noexcept {
  return impl_->seen->get();
}

// What happens behind the look raises it again.
Result<std::optional<VmEvent>> EventStream::try_next() {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  impl_->seen->clear();
  const bool follows = impl_->watch != nullptr;
  const bool is_over =
      follows && impl_->watch->is_over();  // before the look, which sees all till then
  auto found = impl_->reader.next();
  if (!found || !found->at_end || !follows || is_over) impl_->seen->raise();
  if (!found) return base::fail(found.error());
  if (found->event) return std::move(found->event);
  if (found->at_end && !follows) return std::nullopt;
  if (found->at_end && is_over) {
    return base::fail(ErrorCode::cancelled,
                      std::string(kReadEvents) + ": the runtime of this stream has ended");
  }
  return base::fail(ErrorCode::would_block, std::string(kReadEvents) + ": nothing has happened");
}

Result<std::optional<VmEvent>> EventStream::next(const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  const host::Limits whole(limits);
  for (;;) {
    if (auto ok = whole.check(kReadEvents); !ok) return base::fail(ok.error());
    auto event = try_next();
    if (event || event.error().code != ErrorCode::would_block) return event;
    if (auto ok = whole.wait(fd(), POLLIN, kReadEvents); !ok) return base::fail(ok.error());
  }
}

namespace host {

Result<EventStream> open_events(const std::filesystem::path& data_dir, DirectoryWatches& watches,
                                const EventOptions& options) {
  auto reader = EventReader::open(data_dir, options.follow);
  if (!reader) return base::fail(reader.error());
  auto impl = std::make_unique<EventStream::Impl>(std::move(*reader));
  if (!*impl->seen) return base::fail_errno(std::string(kReadEvents) + ": eventfd", EMFILE);
  using Lasts = DirectoryWatches::Lasts;
  if (options.follow) {
    impl->watch = watches.watch(data_dir, kEventsFile, impl->seen, Lasts::as_the_runtime);
  }
  impl->seen->raise();
  return EventStream(std::move(impl));
}

}  // namespace host
}  // namespace microvm
