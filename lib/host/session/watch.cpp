// Watch: the public handle over the stream of one watch. Every byte of it may be hostile.
#include "host/session/watch.hpp"

#include <sys/socket.h>

#include "host/base/home_process.hpp"
#include "host/session/agent_messages.hpp"
#include "host/session/operation.hpp"
#include "host/session/stream_end.hpp"
#include "host/session/tree_path.hpp"

namespace microvm {

using host::Limits;
using wire::FrameType;

struct [[gnu::visibility("hidden")]] Watch::Impl {
  Impl(host::Operation op, const std::shared_ptr<host::StreamHome>& stream_home)
      : operation(std::move(op)), end(stream_home) {}
  // A forked child may have a copy of the stream.
  ~Impl() {
    if (home.is_here()) ::shutdown(operation.fd(), SHUT_RDWR);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Result<std::optional<FileEvent>> next(const Limits& limits);

  const host::HomeProcess home;
  host::Operation operation;
  host::StreamEnd end;
  bool ended = false;
};

namespace {

constexpr const char* kWhat = "watch files";

template <size_t N>
Result<std::string> path_of(const char (&field)[N]) {
  std::string path(field, ::strnlen(field, N));
  if (path.empty() || host::is_clean_path(path, N)) return path;
  return base::fail(ErrorCode::protocol, "watch files: the agent sent a path that is none");
}

Result<FileEvent> to_event(const host::Frame& frame) {
  const auto message = host::decode_message<microvm_agent_WatchEvent>(frame.body);
  if (!message) return base::fail(message.error());
  if (message->kind < _microvm_agent_WatchEvent_Kind_MIN ||
      message->kind > _microvm_agent_WatchEvent_Kind_MAX) {
    return base::fail(ErrorCode::protocol, "watch files: the agent sent an event of no known kind");
  }
  auto path = path_of(message->path);
  if (!path) return base::fail(path.error());
  auto old_path = path_of(message->old_path);
  if (!old_path) return base::fail(old_path.error());
  // The public kinds have the wire's numbers.
  return FileEvent{static_cast<FileEvent::Kind>(message->kind), std::move(*path),
                   std::move(*old_path), message->is_directory};
}

}  // namespace

static_assert(static_cast<int>(FileEvent::Kind::created) == microvm_agent_WatchEvent_Kind_CREATED);
static_assert(static_cast<int>(FileEvent::Kind::modified) ==
              microvm_agent_WatchEvent_Kind_MODIFIED);
static_assert(static_cast<int>(FileEvent::Kind::removed) == microvm_agent_WatchEvent_Kind_REMOVED);
static_assert(static_cast<int>(FileEvent::Kind::renamed) == microvm_agent_WatchEvent_Kind_RENAMED);
static_assert(static_cast<int>(FileEvent::Kind::overflow) ==
              microvm_agent_WatchEvent_Kind_OVERFLOW);

Watch::Watch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Watch::Watch(Watch&&) noexcept = default;
Watch& Watch::operator=(Watch&&) noexcept = default;
Watch::~Watch() = default;

int Watch::fd() const noexcept {
  return impl_->operation.fd();
}

Result<std::optional<FileEvent>> Watch::next(const CallLimits& limits) {
  if (auto ok = impl_->home.check(limits); !ok) return base::fail(ok.error());
  return impl_->next(Limits(limits));
}

Result<std::optional<FileEvent>> Watch::try_next() {
  if (auto ok = impl_->home.check(); !ok) return base::fail(ok.error());
  return impl_->next(Limits::at_once());
}

Result<std::optional<FileEvent>> Watch::Impl::next(const Limits& limits) {
  if (ended) return std::nullopt;
  const auto received = operation.try_receive(limits);
  if (!received) return base::fail(received.error());
  if (!*received) return base::fail(end.why(operation, limits));
  const host::Frame& frame = **received;
  if (frame.type == FrameType::ok) {
    ended = true;
    return std::nullopt;
  }
  if (frame.type != FrameType::watch_event) return operation.unexpected(frame);
  auto event = to_event(frame);
  if (!event) return base::fail(event.error());
  return std::optional(std::move(*event));
}

namespace host {

Result<Watch> open_watch(const std::shared_ptr<AgentLink>& link, const std::string& path,
                         const WatchOptions& options, const std::shared_ptr<StreamHome>& home,
                         const Limits& limits) {
  microvm_agent_WatchRequest request{};
  if (auto ok = set_text(request.path, path, "path"); !ok) return base::fail(ok.error());
  request.recursive = options.recursive;
  auto operation = Operation::open(link, kWhat, limits);
  if (!operation) return base::fail(operation.error());
  auto ok = operation->send(FrameType::watch, encode_message(request), limits);
  if (ok) ok = operation->expect_ok(limits);
  if (!ok) return base::fail(ok.error());
  return Watch(std::make_unique<Watch::Impl>(std::move(*operation), home));
}

}  // namespace host
}  // namespace microvm
