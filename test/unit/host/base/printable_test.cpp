#include "host/base/printable.hpp"

#include <doctest/doctest.h>

using microvm::host::printable;

TEST_CASE("printable: text stays as it is, of any script") {
  CHECK(printable("") == "");
  CHECK(printable("open /dev/kvm: no") == "open /dev/kvm: no");
  CHECK(printable("gr\xc3\xbc\xc3\x9f, \xe6\x97\xa5, \xf0\x9f\x90\xa7") ==
        "gr\xc3\xbc\xc3\x9f, \xe6\x97\xa5, \xf0\x9f\x90\xa7");
}

TEST_CASE("printable: one line that moves no cursor") {
  CHECK(printable("a\nb\tc") == "a b c");
  CHECK(printable("\x1b[31mred\x07\x7f\r") == "?[31mred???");
  CHECK(printable(std::string_view("a\0b", 3)) == "a?b");
  CHECK(printable("\xc2\x9b"
                  "31m") == "?31m");  // CSI as one code point
  CHECK(printable("a\xe2\x80\xae"
                  "b") == "a?b");  // right-to-left override
  CHECK(printable("a\xe2\x81\xa7"
                  "b") == "a?b");  // isolate
  CHECK(printable("a\xe2\x80\xa8"
                  "b\xef\xbb\xbf") == "a?b?");  // line separator, BOM
}

TEST_CASE("printable: what is not UTF-8 becomes question marks, byte by byte") {
  CHECK(printable("\xff\xfe"
                  "a") == "??a");
  CHECK(printable("a\xc3") == "a?");     // cut off
  CHECK(printable("\xc0\xaf") == "??");  // not the shortest form
  CHECK(printable("\xe0\x80\xaf") == "???");
  CHECK(printable("\xed\xa0\x80") == "???");       // a surrogate
  CHECK(printable("\xf4\x90\x80\x80") == "????");  // above U+10FFFF
  CHECK(printable("\xc3(") == "?(");
}

TEST_CASE("printable: long text is cut at a whole character") {
  CHECK(printable("abcdef", 6) == "abcdef");
  CHECK(printable("abcdefg", 6) == "abcdef...");
  CHECK(printable("abcde\xc3\xbc", 6) == "abcde...");
  CHECK(printable("\n\n\n", 2) == "  ...");
  CHECK(printable(std::string(5000, 'x')).size() == 1024 + 3);
}
