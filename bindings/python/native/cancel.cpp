#include "bindings.hpp"
#include "token.hpp"

namespace microvm::python {

void bind_cancel(py::module_& module) {
  py::class_<Token>(
      module, "CancelToken",
      "Ends the calls that were given it as ``cancel=``, from any thread.\n\n"
      "They raise ``Cancelled`` as soon as they can leave nothing behind. A token that\n"
      "was cancelled stays so; calls that get it then end at once.")
      .def(py::init<>())
      .def("cancel", &Token::cancel, "Cancels; may be repeated.")
      .def("fileno", &Token::fd, "Readable from the moment of ``cancel()`` on, for select().")
      .def_property_readonly("cancelled", &Token::cancelled, "Whether ``cancel()`` was called.");
}

}  // namespace microvm::python
