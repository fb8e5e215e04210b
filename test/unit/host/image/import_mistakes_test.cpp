#include "host/image/import_mistakes.hpp"

#include <doctest/doctest.h>

#include <fstream>

#include "host/image/base_import.hpp"
#include "host/image/ext4_fixtures.hpp"
#include "host/store/files.hpp"
#include "host/temp_dir.hpp"

using namespace microvm;
using namespace microvm::host;
using namespace microvm::test;

namespace {

class WrongImport {
 public:
  std::filesystem::path file() { return dir_ / "given"; }

  std::filesystem::path write(std::string_view bytes) {
    std::ofstream(file(), std::ios::binary) << bytes;
    return file();
  }
  // As gzip and zstd would leave it: one entry, no archive.
  std::filesystem::path write_packed(std::string_view bytes, int (*add_filter)(archive*)) {
    archive* writer = archive_write_new();
    archive_write_set_format_raw(writer);
    add_filter(writer);
    REQUIRE(archive_write_open_filename(writer, file().c_str()) == ARCHIVE_OK);
    archive_entry* entry = archive_entry_new();
    archive_entry_set_filetype(entry, AE_IFREG);
    REQUIRE(archive_write_header(writer, entry) == ARCHIVE_OK);
    REQUIRE(archive_write_data(writer, bytes.data(), bytes.size()) ==
            static_cast<la_ssize_t>(bytes.size()));
    archive_entry_free(entry);
    REQUIRE(archive_write_free(writer) == ARCHIVE_OK);
    return file();
  }

  // What is told of the file, after its name; that nothing of it is kept.
  std::string told(const std::filesystem::path& given, uint64_t disk_bytes = 64u << 20) {
    const auto info = import_base(store_, {"test:1", given, disk_bytes, {}});
    REQUIRE_FALSE(info);
    CHECK(info.error().code == ErrorCode::corrupt);
    CHECK(store_.bases()->items.empty());
    CHECK(list_dir(store_.data_dir() / "tmp")->size() <= 1);  // the lock file
    const std::string start = given.string() + ": ";
    REQUIRE(info.error().message.starts_with(start));
    return info.error().message.substr(start.size());
  }
  Result<BaseInfo> import(const std::filesystem::path& given) {
    return import_base(store_, {"test:1", given, 64u << 20, {}});
  }

 private:
  TempDir dir_;
  Store store_ = *Store::open(dir_ / "data");
};

const std::string kDigest(64, 'a');

constexpr const char* kImages =
    "holds container images (of docker save, or OCI) and no root file system: make one with docker "
    "create IMAGE and docker export CONTAINER";

}  // namespace

TEST_CASE("import mistakes: a file that is no tar is named for what it is") {
  WrongImport wrong;
  CHECK(wrong.told(wrong.write("")) == "is empty: the download or export of it has failed");
  const std::string page =
      "not a tar but an HTML or XML page: look at the address it was downloaded from";
  CHECK(wrong.told(wrong.write("<!DOCTYPE html>\n<html></html>\n")) == page);
  CHECK(wrong.told(wrong.write("\xEF\xBB\xBF \r\n<html>" + std::string(100'000, ' '))) == page);
  CHECK(wrong.told(wrong.write_packed("<html>", archive_write_add_filter_gzip)) == page);
  CHECK(wrong.told(wrong.write_packed("<html>", archive_write_add_filter_zstd)) == page);
  CHECK(wrong.told(wrong.write("{\"errors\": []}")) ==
        "not a tar but JSON text: look at the address it was downloaded from");
  CHECK(wrong.told(wrong.write("PK\x03\x04" + std::string(600, 'x'))) ==
        "not a tar but a zip file: pack the root file system with tar -C DIR -cf FILE .");
  std::string ext4(4096, '\0');
  ext4.replace(0x438, 2, "\x53\xef");
  CHECK(wrong.told(wrong.write(ext4)).starts_with("not a tar but an ext4 image: "));
  CHECK(wrong.told(wrong.write_packed(ext4, archive_write_add_filter_xz))
            .starts_with("not a tar but an ext4 image: "));
  CHECK(wrong.told(TarMaker(wrong.file()).done()) == "holds no files");
  const std::string unknown =
      "not a tar, also not a compressed one: one is made by docker export CONTAINER or tar -C DIR "
      "-cf FILE .";
  CHECK(wrong.told(wrong.write("some text")) == unknown);
  CHECK(wrong.told(wrong.write(std::string(2000, '\x81'))) == unknown);
  CHECK(wrong.told(wrong.write("x")) == unknown);
}

TEST_CASE("import mistakes: a directory is told how to become a tar") {
  WrongImport wrong;
  std::filesystem::create_directory(wrong.file());
  const auto info = wrong.import(wrong.file());
  REQUIRE_FALSE(info);
  CHECK(info.error().message.find(": a directory: pack it with tar -C ") != std::string::npos);
}

TEST_CASE("import mistakes: archives of images are no root file systems") {
  WrongImport wrong;
  const std::string layer(100'000, 'l');
  CHECK(wrong.told(TarMaker(wrong.file())  // docker save until version 24
                       .dir(kDigest)
                       .file(kDigest + "/VERSION", "1.0")
                       .file(kDigest + "/layer.tar", layer)
                       .file(kDigest + ".json", "{}")
                       .file("manifest.json", "[]")
                       .file("repositories", "{}")
                       .done()) == kImages);
  CHECK(wrong.told(TarMaker(wrong.file(), true)  // since then, and OCI
                       .file("./blobs/sha256/" + kDigest, layer)
                       .file("./index.json", "{}")
                       .file("./oci-layout", "{}")
                       .done()) == kImages);
  CHECK(wrong.told(TarMaker(wrong.file())  // crane, skopeo
                       .file("sha256:" + kDigest, "{}")
                       .file(kDigest + ".tar.gz", layer)
                       .file("manifest.json", "[]")
                       .done()) == kImages);
}

TEST_CASE("import mistakes: one of images that is cut off or too large is still one of images") {
  WrongImport wrong;
  const std::string layer(20u << 20, 'l');
  const auto whole =
      TarMaker(wrong.file()).file("blobs/sha256/" + kDigest, layer).file("oci-layout", "{}").done();
  CHECK(wrong.told(whole, 16u << 20) == kImages);
  std::filesystem::resize_file(whole, 10u << 20);
  CHECK(wrong.told(whole) == kImages);
}

TEST_CASE("import mistakes: a root file system inside a directory is found there") {
  WrongImport wrong;
  const std::string one =
      "its root file system is inside \"rootfs\": unpack it with tar --strip-components=1 and pack "
      "it again with tar -C DIR -cf FILE .";
  CHECK(wrong.told(TarMaker(wrong.file()).dir("rootfs/etc").file("rootfs/bin/sh", "x").done()) ==
        one);
  CHECK(wrong.told(TarMaker(wrong.file())
                       .file("metadata.yaml", "x")
                       .dir("templates")
                       .dir("./rootfs/etc")
                       .dir("./rootfs/usr")
                       .symlink("./rootfs/bin", "usr/bin")
                       .done()) == one);
  CHECK(wrong.told(TarMaker(wrong.file()).dir("home/me/root/etc").dir("home/me/root/usr").done())
            .starts_with("its root file system is inside \"home/me/root\": unpack it with tar "
                         "--strip-components=3 "));
  CHECK(wrong.told(TarMaker(wrong.file()).dir("a\nb/etc").dir("a\nb/bin").done())
            .starts_with("its root file system is inside \"a b\""));
}

TEST_CASE("import mistakes: unusual root file systems are taken") {
  WrongImport wrong;
  // One program; files of names that image archives have, too; jails beside the real thing.
  CHECK(wrong.import(TarMaker(wrong.file()).file("app", "x").done()));
  CHECK(wrong.import(TarMaker(wrong.file()).dir("app/bin").dir("app/lib").done()));
  CHECK(wrong.import(TarMaker(wrong.file()).file("srv", "x").file("manifest.json", "{}").done()));
  CHECK(wrong.import(
      TarMaker(wrong.file()).dir("etc").dir("blobs/sha256").file(kDigest, "x").done()));
  CHECK(wrong.import(TarMaker(wrong.file()).dir("usr").dir("jail/etc").dir("jail/bin").done()));
  std::string deep = "d";
  for (int i = 0; i < 100; ++i) deep += "/d";
  CHECK(wrong.import(TarMaker(wrong.file()).dir(deep + "/etc").dir(deep + "/bin").done()));
}

// The header of a file that claims a size, in the base 256 of GNU's tar, and has one block.
std::string claiming_tar(const std::string& name, uint64_t size) {
  std::string header(512, '\0');
  header.replace(0, name.size(), name);
  header.replace(100, 8, std::string("0000644\0", 8));
  header.replace(108, 8, std::string("0000000\0", 8));
  header.replace(116, 8, std::string("0000000\0", 8));
  header[124] = '\x80';
  for (int i = 0; i < 8; ++i) header[135 - i] = static_cast<char>(size >> (8 * i));
  header.replace(136, 12, std::string("00000000000\0", 12));
  header.replace(148, 8, 8, ' ');
  header[156] = '0';
  header.replace(257, 8, std::string("ustar  \0", 8));
  unsigned sum = 0;
  for (const unsigned char c : header) sum += c;
  char text[8];
  std::snprintf(text, sizeof text, "%06o", sum);
  header.replace(148, 7, text, 7);
  return header + std::string(512, 'x');
}

TEST_CASE("import mistakes: sizes that a header claims are not believed") {
  WrongImport wrong;
  for (const uint64_t bytes : {uint64_t{1} << 33, uint64_t{1} << 50, uint64_t{1} << 62}) {
    CAPTURE(bytes);
    CHECK(wrong.told(wrong.write(claiming_tar("f", bytes))).find("truncated") != std::string::npos);
    CHECK(wrong.told(wrong.write(claiming_tar("blobs/sha256/" + kDigest, bytes))) == kImages);
  }
}
