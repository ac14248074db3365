#include "ml/data/tar_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/base/files.h"
#include "ml/data/testing/tar_fake.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<std::vector<TarMember>> List(const std::string& archive) {
  return ListTar(archive.size(), [&](uint64_t offset, uint64_t bytes) -> absl::StatusOr<std::string> {
    EXPECT_LE(offset + bytes, archive.size());
    return archive.substr(offset, bytes);
  });
}

std::string Archive(const std::string& name) {
  const absl::StatusOr<std::string> bytes = ReadFile(absl::StrCat("ml/data/tar_index_corpus/", name));
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.value_or("");
}

// "NAME: CONTENT", long contents by their length.
std::vector<std::string> Texts(const std::string& archive) {
  const absl::StatusOr<std::vector<TarMember>> members = List(archive);
  EXPECT_TRUE(members.ok()) << members.status();
  std::vector<std::string> texts;
  if (!members.ok()) return texts;
  for (const TarMember& member : *members) {
    const std::string content = archive.substr(member.offset, member.bytes);
    texts.push_back(absl::StrCat(member.name, ": ", content.size() > 20 ? absl::StrCat(content.size()) : content));
  }
  return texts;
}

std::string Long() {
  std::string name = "folder/";
  for (int i = 0; i < 30; ++i) name += "long_";
  return name + "name.jpg";
}

TEST(ListTarTest, ReadsEveryFormatOfPythonsTarfile) {
  EXPECT_THAT(Texts(Archive("ustar.tar")),
              ElementsAre("a.jpg: picture one", "a.cls: 3", "sub/b.jpg: 700", "sub/b.cls: 0\n", "empty.txt: ",
                          absl::StrCat(std::string(120, 'p'), "/", std::string(60, 'n'), ".jpg: with a prefix")));
  EXPECT_THAT(Texts(Archive("gnu.tar")),
              ElementsAre("a.jpg: picture one", "a.cls: 3", "sub/b.jpg: 700", "sub/b.cls: 0\n",
                          "empty.txt: ", absl::StrCat(Long(), ": long name"), "after.jpg: !"));
  EXPECT_THAT(Texts(Archive("pax.tar")),
              ElementsAre("a.jpg: picture one", "a.cls: 3", "sub/b.jpg: 700", "sub/b.cls: 0\n", "empty.txt: ",
                          absl::StrCat(Long(), ": long name"), "gr\xC3\xBCn.jpg: green", "after.jpg: !"));
  EXPECT_THAT(Texts(Archive("pax_global.tar")),
              ElementsAre("a.jpg: picture one", "a.cls: 3", "sub/b.jpg: 700", "sub/b.cls: 0\n", "empty.txt: "));
}

TEST(ListTarTest, ReadsWhatTheTestsWrite) {
  EXPECT_THAT(Texts(MakeTar({{"x.jpg", std::string(512, 'x')}, {"x.cls", "1"}, {"y", ""}})),
              ElementsAre("x.jpg: 512", "x.cls: 1", "y: "));
  EXPECT_THAT(Texts(MakeTar({})), ElementsAre());
  EXPECT_THAT(Texts(""), ElementsAre());
}

TEST(ListTarTest, TheBlocksAtTheEndMayBeMissing) { EXPECT_EQ(Texts(Archive("no_end.tar")), Texts(Archive("gnu.tar"))); }

TEST(ListTarTest, NothingFollowsTheEnd) {
  const std::string one = MakeTar({{"x.jpg", "x"}});
  EXPECT_TRUE(List(one + std::string(8192, '\0')).ok());
  EXPECT_THAT(std::string(List(one + one).status().message()),
              HasSubstr("byte 1024: the archive ends here, but something follows"));
}

TEST(ListTarTest, BrokenArchivesAreErrorsThatNameThePlace) {
  const auto error = [](const std::string& name) { return std::string(List(Archive(name)).status().message()); };
  EXPECT_THAT(error("cut_off.tar"), HasSubstr("it is cut off"));
  EXPECT_THAT(error("bad_checksum.tar"), HasSubstr("byte 0: a header's checksum is wrong"));
  EXPECT_THAT(error("huge_length.tar"), HasSubstr("byte 512: "));
  EXPECT_THAT(error("compressed.tar"), HasSubstr("is compressed"));
  EXPECT_THAT(error("bad_pax.tar"), HasSubstr("an extended header that is not well formed"));
}

TEST(ListTarTest, NoCutAndNoFlippedByteReadsOutside) {
  for (const char* name : {"ustar.tar", "gnu.tar", "pax.tar"}) {
    const std::string whole = Archive(name);
    for (size_t size = 0; size < whole.size(); size += 97) List(whole.substr(0, size)).status().IgnoreError();
    for (size_t at = 0; at < whole.size(); at += 3) {
      std::string flipped = whole;
      flipped[at] = static_cast<char>(flipped[at] ^ 0x41);
      const absl::StatusOr<std::vector<TarMember>> members = List(flipped);
      if (!members.ok()) continue;
      for (const TarMember& member : *members) EXPECT_LE(member.offset + member.bytes, whole.size());
    }
  }
}

}  // namespace
}  // namespace prunelab
