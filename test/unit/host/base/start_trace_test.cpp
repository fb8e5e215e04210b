#include "host/base/start_trace.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

using namespace microvm;
using namespace microvm::host;
using namespace std::chrono_literals;

namespace {

struct Written {
  base::Fd file{::memfd_create("trace", MFD_CLOEXEC)};
  std::shared_ptr<TraceFile> trace = std::make_shared<TraceFile>(base::Fd(::dup(file.get())));

  std::string text() const {
    std::string text(4096, 'x');
    text.resize(static_cast<size_t>(::pread(file.get(), text.data(), text.size(), 0)));
    return text;
  }
};

}  // namespace

TEST_CASE("start trace: steps stand in the order of time, with the time since the one before") {
  Written written;
  const auto begin = StartTrace::Time(1h);
  StartTrace trace(written.trace, "run app", begin);
  trace.mark("later", begin + 2500us);
  trace.mark("told last", begin + 1000us);
  CHECK(written.text().empty());
  trace.call_it("vm-1");
  trace.write_out();
  CHECK(written.text() ==
        "vm-1     1.000   +1.000  told last\n"
        "vm-1     2.500   +1.500  later\n");
  trace.mark("once more", begin + 3s);
  trace.write_out();
  trace.write_out();
  CHECK(written.text().ends_with("later\nvm-1  3000.000 +2997.500  once more\n"));
}

TEST_CASE("start trace: what was marked is written at the end at the latest, and is bounded") {
  Written written;
  {
    StartTrace trace(written.trace, "run app");
    for (int i = 0; i < 10'000; ++i) trace.mark("step");
  }
  const std::string text = written.text();
  CHECK(text.starts_with("run app "));
  CHECK(std::ranges::count(text, '\n') <= 256);
}

TEST_CASE("start trace: the environment names the file, and says nothing by default") {
  ::unsetenv(kTraceVariable);
  REQUIRE(TraceFile::from_environment());
  CHECK_FALSE(*TraceFile::from_environment());
  ::setenv(kTraceVariable, "/no/such/directory/file", 1);
  const auto failed = TraceFile::from_environment();
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message.starts_with("MICROVM_TRACE=/no/such/directory/file: "));
  ::setenv(kTraceVariable, "-", 1);
  CHECK(*TraceFile::from_environment());
  ::unsetenv(kTraceVariable);
}
