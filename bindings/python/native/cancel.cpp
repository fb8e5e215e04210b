#include <poll.h>

#include <cerrno>
#include <climits>

#include "bindings.hpp"
#include "token.hpp"

namespace microvm::python {

namespace {

// Until it is cancelled; false: the time was over before.
bool wait(Token& token, py::handle timeout) {
  const auto limit = time_limit("timeout", timeout);
  Call call(py::none(), py::cast(token));
  return call.run([&](const CallLimits& limits) -> Result<bool> {
    pollfd ready{limits.cancel->fd(), POLLIN, 0};
    const int milliseconds =
        limit.count() == 0 ? -1 : static_cast<int>(std::min<int64_t>(limit.count(), INT_MAX));
    while (::poll(&ready, 1, milliseconds) < 0 && errno == EINTR) {
    }
    return ready.revents != 0;
  });
}

}  // namespace

void bind_cancel(py::module_& module) {
  py::class_<Token>(
      module, "CancelToken",
      "Ends the calls that were given it as ``cancel=``, from any thread.\n\n"
      "They raise ``Cancelled`` as soon as they can leave nothing behind. A token that\n"
      "was cancelled stays so; calls that get it then end at once.")
      .def(py::init<>())
      .def("cancel", &Token::cancel, "Cancels; may be repeated.")
      .def("fileno", &Token::fd, "Readable from the moment of ``cancel()`` on, for select().")
      .def("wait", &wait, "timeout"_a = py::none(),
           "Waits until ``cancel()`` is called; False: ``timeout`` was over before.")
      .def_property_readonly("cancelled", &Token::cancelled, "Whether ``cancel()`` was called.");
}

}  // namespace microvm::python
