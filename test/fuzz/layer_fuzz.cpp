// A hostile disk layer: header fields and allocation map from the input, with or without their
// checksums put right. What opens must map every range exactly and survive reads and writes.
#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>

#include "in_place_loop.hpp"
#include "state/crc32c.hpp"
#include "vmm/disk/disk_stack.hpp"
#include "wire/bytes.hpp"

using namespace microvm;
using namespace microvm::vmm;

namespace {

constexpr uint64_t kBaseBytes = 1u << 20;
constexpr uint64_t kLayerBytes = 16u << 20;

// Made once: to make and open files takes longer than what is done with them.
class File {
 public:
  explicit File(uint64_t bytes) : bytes_(static_cast<off_t>(bytes)) {
    clear();
    reader_.reset(
        ::open(("/proc/self/fd/" + std::to_string(file_.get())).c_str(), O_RDONLY | O_CLOEXEC));
    if (!reader_) std::abort();
  }
  // Zeros, as at the beginning of each run.
  void clear() const {
    if (::ftruncate(file_.get(), 0) != 0 || ::ftruncate(file_.get(), bytes_) != 0) std::abort();
  }
  [[nodiscard]] base::Fd reader() const { return copy(reader_); }
  [[nodiscard]] base::Fd writer() const { return copy(file_); }

 private:
  static base::Fd copy(const base::Fd& fd) {
    return base::Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  }

  off_t bytes_;
  base::Fd file_{::memfd_create("fuzz", MFD_CLOEXEC)};
  base::Fd reader_;
};

// The sectors of the map as the input has them; `seal` gives them the checksums they need.
wire::Bytes make_map(wire::ByteReader& in, bool seal) {
  wire::Bytes map(8 * AllocationMap::kSectorBytes);
  const wire::ByteView bits = in.get_bytes(std::min(in.left(), map.size()));
  std::copy(bits.begin(), bits.end(), map.begin());
  for (uint32_t sector = 0; seal && sector < 8; ++sector) {
    std::byte* at = map.data() + sector * AllocationMap::kSectorBytes;
    const uint32_t sum = state::crc32c({at, AllocationMap::kSectorBytes - 4}, sector + 1);
    std::memcpy(at + AllocationMap::kSectorBytes - 4, &sum, sizeof sum);
  }
  return map;
}

void put(const base::Fd& file, const wire::Bytes& bytes, off_t offset) {
  if (::pwrite(file.get(), bytes.data(), bytes.size(), offset) < 0) std::abort();
}

void make_layer(wire::ByteReader& in, const File& layer) {
  const auto flags = in.get<uint8_t>();
  LayerHeader header{.granule_bytes = in.get<uint32_t>(),
                     .virtual_bytes = in.get<uint32_t>(),
                     .lower_bytes = (flags & 1) != 0 ? kBaseBytes : in.get<uint64_t>()};
  if ((flags & 2) != 0) header.granule_bytes = 4096u << (header.granule_bytes % 5);
  if ((flags & 4) != 0) header.virtual_bytes &= 0x7f'fe00;
  // Most disks are small: a walk through the map of a large one takes longer than all else.
  if ((flags & 0x60) != 0) header.virtual_bytes &= 0x3ff'ffff;
  const base::Fd file = layer.writer();
  wire::Bytes page = header.encode();
  if ((flags & 8) != 0) page[in.get<uint8_t>()] ^= std::byte{in.get<uint8_t>()};
  put(file, page, 0);
  put(file, make_map(in, (flags & 16) != 0), 4096);
}

void check_map(const File& base, const File& layer) {
  std::vector<base::Fd> files;
  files.push_back(base.reader());
  files.push_back(layer.reader());
  const auto stack = LayerStack::open(std::move(files), {.read_only = true});
  if (!stack) return;
  std::vector<Segment> segments;
  stack->map(0, stack->size_bytes(), segments);
  uint64_t total = 0;
  for (const Segment& segment : segments) {
    total += segment.length;
    if (segment.fd >= 0 && segment.file_offset + segment.length > kLayerBytes) std::abort();
  }
  if (total != stack->size_bytes()) std::abort();
}

void use(sys::Loop& loop, DiskStack& disk, wire::ByteView seed) {
  std::vector<std::byte> buffer(16 * 512);
  for (size_t i = 0; i + 4 <= seed.size() && i < 64; i += 4) {
    uint32_t value = 0;
    std::memcpy(&value, seed.data() + i, sizeof value);
    const iovec list{buffer.data(), (value % 16 + 1) * 512};
    const uint64_t offset = value / 16 % 0x4000 * 512ul;
    const auto ignore = [](int) {};
    switch (value >> 30) {
      case 0:
        disk.read({&list, 1}, offset, ignore);
        break;
      case 1:
        disk.write({&list, 1}, offset, ignore);
        break;
      case 2:
        disk.write_zeroes(offset, (value >> 4 & 0xff) * 512, ignore);
        break;
      default:
        disk.flush(ignore);
    }
  }
  while (disk.in_flight() > 0) {
    loop.run_once(std::chrono::milliseconds(1));
  }
  loop.run_once(std::chrono::milliseconds(0));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const File base(kBaseBytes);
  static const File layer(kLayerBytes);
  static test::InPlaceLoop loop;
  const wire::ByteView all = std::as_bytes(std::span(data, size));
  wire::ByteReader in(all);
  layer.clear();
  make_layer(in, layer);
  check_map(base, layer);
  std::vector<base::Fd> files;
  files.push_back(base.reader());
  files.push_back(layer.writer());
  auto disk = DiskStack::open(loop, std::move(files), {});
  if (disk) use(loop, **disk, all);
  return 0;
}
