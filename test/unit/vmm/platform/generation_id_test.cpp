#include "vmm/platform/generation_id.hpp"

#include <doctest/doctest.h>

#include "counting_irq.hpp"

using namespace microvm;
using namespace microvm::vmm;

namespace {

constexpr uint64_t kPage = 0xf0000;

}  // namespace

TEST_CASE("generation id: boot writes one, a restore writes another and says so") {
  auto memory = GuestMemory::reserve(2 << 20);
  REQUIRE(memory);
  REQUIRE(memory->back_with_zeros());
  GenerationGuid zero{};
  GenerationGuid first{};
  GenerationGuid second{};
  test::CountingIrq irq;

  REQUIRE(write_generation_id(*memory, kPage));
  REQUIRE(memory->read(kPage, first));
  CHECK(first != zero);

  REQUIRE(renew_generation_id(*memory, kPage, irq));
  REQUIRE(memory->read(kPage, second));
  CHECK(second != first);
  CHECK(irq.count == 1);

  CHECK_FALSE(renew_generation_id(*memory, memory->size(), irq));
  CHECK(irq.count == 1);
}
