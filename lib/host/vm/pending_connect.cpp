#include "host/vm/pending_connect.hpp"

#include <fcntl.h>
#include <poll.h>

#include "host/session/agent_messages.hpp"
#include "host/session/operation.hpp"

namespace microvm::host {

using wire::FrameType;

namespace {

// A stream that was just made takes a small frame at once.
constexpr std::chrono::milliseconds kWriteLimit{10};

Result<base::Fd> as_blocking(base::Fd stream) {
  const int flags = ::fcntl(stream.get(), F_GETFL);
  if (flags < 0 || ::fcntl(stream.get(), F_SETFL, flags & ~O_NONBLOCK) < 0) {
    return base::fail_errno("connect: fcntl");
  }
  return stream;
}

}  // namespace

PendingConnect::PendingConnect(Reactor& reactor, uint16_t port,
                               std::shared_ptr<AwaitedSocket> result)
    : reactor_(reactor),
      port_(port),
      what_("connect to guest port " + std::to_string(port)),
      result_(std::move(result)) {}

void PendingConnect::start(const std::shared_ptr<VmSession>& session, Gone on_gone) {
  if (is_over()) return;
  on_gone_ = std::move(on_gone);
  session->client->ask(
      wire::ConnectRequest{wire::kAgentOperationPort}, what_,
      [self = shared_from_this()](Result<ControlClient::Reply> reply) {
        if (self->is_over()) return self->finish({});
        if (!reply) return self->fail(reply.error());
        if (reply->fds.size() != 1) {
          return self->fail({ErrorCode::protocol, self->what_ + ": the worker sent no stream"});
        }
        self->ask(std::move(reply->fds[0]));
      });
}

void PendingConnect::ask(base::Fd stream) {
  stream_ = std::move(stream);
  microvm_agent_TcpConnectRequest request{};
  request.port = port_;
  FrameWriter writer;
  const auto sent = writer.write(stream_.get(), FrameType::tcp_connect, encode_message(request),
                                 Limits({}, kWriteLimit), what_);
  if (!sent) return fail(sent.error());
  watch_ = reactor_.loop().watch(stream_.get(), POLLIN,
                                 [self = shared_from_this()](uint32_t) { self->on_readable(); });
}

void PendingConnect::on_readable() {
  const auto self = shared_from_this();  // the watch may be all that holds it
  if (is_over()) return finish({});
  const auto state = reader_.advance(stream_.get());
  if (!state) return fail(state.error());
  if (*state == FrameReader::State::would_block) return;
  if (*state == FrameReader::State::end) {
    return fail({ErrorCode::vm_gone, what_ + ": the guest closed the connection"});
  }
  const Frame frame = reader_.take();
  if (frame.type == FrameType::failed) return fail(refusal(what_, frame).value());
  if (frame.type != FrameType::ok) {
    return fail({ErrorCode::protocol, what_ + ": the agent sent a frame out of turn"});
  }
  stop_watching();
  finish(as_blocking(std::move(stream_)));
}

void PendingConnect::stop_watching() {
  if (watch_) reactor_.loop().unwatch(*std::exchange(watch_, std::nullopt));
}

void PendingConnect::fail(Error error) {
  stop_watching();
  stream_.reset();
  reader_ = {};
  const auto on_gone = std::exchange(on_gone_, nullptr);
  if (error.code == ErrorCode::vm_gone && on_gone) {
    return on_gone(shared_from_this(), std::move(error));
  }
  finish(base::fail(std::move(error)));
}

void PendingConnect::end_after(std::chrono::milliseconds limit) {
  if (is_over()) return;
  timer_ = reactor_.loop().after(limit, [late = weak_from_this()] {
    const auto self = late.lock();
    if (!self) return;
    self->timer_.reset();
    self->finish(base::fail(ErrorCode::deadline_exceeded, "connect: the time limit passed"));
  });
}

void PendingConnect::finish(Result<base::Fd> result) {
  stop_watching();
  if (timer_) reactor_.loop().cancel(*std::exchange(timer_, std::nullopt));
  stream_.reset();
  on_gone_ = nullptr;
  result_->deliver(std::move(result));
}

}  // namespace microvm::host
