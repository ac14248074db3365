#include "ml/base/textproto.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "absl/strings/str_cat.h"
#include "ml/base/files.h"
#include "ml/base/textproto_test.pb.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

TestRoot Root(const std::string& text) {
  TestRoot root;
  const auto source = TextProtoSource::Parse("test", text, &root);
  EXPECT_TRUE(source.ok()) << source.status();
  return root;
}

std::string ParseError(const std::string& text) {
  TestRoot root;
  const auto source = TextProtoSource::Parse("f", text, &root);
  EXPECT_FALSE(source.ok()) << text;
  return std::string(source.status().message());
}

std::string Canonical(const std::string& text) {
  const absl::StatusOr<std::string> canonical = CanonicalText(Root(text));
  EXPECT_TRUE(canonical.ok()) << canonical.status();
  return *canonical;
}

std::string Merged(const std::string& base, const std::string& patch) {
  TestRoot root = Root(base);
  const absl::Status status = MergePatch(Root(patch), &root);
  EXPECT_TRUE(status.ok()) << status;
  return *CanonicalText(root);
}

constexpr char kLeaf[] = "[type.googleapis.com/prunelab.TestLeaf]";
constexpr char kOther[] = "[type.googleapis.com/prunelab.TestOtherLeaf]";

// ---------------------------------------------------------------------------------------------------------------------
// Errors

TEST(TextProtoErrorTest, UnknownFieldSuggestsTheNearest) {
  EXPECT_EQ(
      ParseError("name: \"a\"\n  epcohs: 3\n"),
      "f:2:3: prunelab.TestRoot has no field \"epcohs\"; did you mean \"epochs\"? fields there: name, epochs, fast, "
      "color, single, number, part, piece, milestone, plugin, nothing, something, count, cache, storage, given");
  // The place is the field's, not that of an equal word before it, and only whole words count.
  EXPECT_THAT(ParseError("name: \"siz\" part {\n size: 1\n siz: 1 }"),
              HasSubstr("f:3:2: prunelab.TestRoot.Part has no field"));
  EXPECT_THAT(ParseError("part {\n  qq  \n\n: 1 }"), HasSubstr("f:2:3: "));
}

TEST(TextProtoErrorTest, UnknownFieldInsideAny) {
  EXPECT_EQ(ParseError(absl::StrCat("plugin {\n  ", kLeaf, " {\n    rat: 0.1\n  }\n}")),
            "f:3:5: prunelab.TestLeaf has no field \"rat\"; did you mean \"rate\"? fields there: rate, limit, inner");
  EXPECT_THAT(ParseError("plugin { rate: 1 }"),
              HasSubstr("f:1:10: \"rate\" is where a plugin must be named; write [type.googleapis.com/prunelab.Name]"));
}

TEST(TextProtoErrorTest, UnlinkedType) {
  EXPECT_THAT(ParseError("epochs: 1\nplugin { [type.googleapis.com/prunelab.Absent] {} }"),
              HasSubstr("f:2:10: [prunelab.Absent] is not linked into this program; "));
  EXPECT_EQ(ParseError("plugin { [example.com/prunelab.TestLeaf] {} }"),
            "f:1:10: [example.com/prunelab.TestLeaf] begins with \"example.com/\"; write "
            "[type.googleapis.com/prunelab.TestLeaf]");
  EXPECT_THAT(ParseError("plugin { [prunelab.TestLeaf] {} }"),
              HasSubstr("f:1:28: expected \"/\", found \"]\"; a plugin is named like this: [type.googleapis.com/"));
}

TEST(TextProtoErrorTest, ValuesOfAWrongKind) {
  EXPECT_EQ(ParseError("epochs: 0.5"), "f:1:9: expected integer, got: 0.5");
  EXPECT_EQ(ParseError("epochs: 99999999999999999999"), "f:1:9: integer out of range (99999999999999999999)");
  EXPECT_EQ(ParseError("epochs:"), "f:1:8: expected integer, got: (the text ends here)");
  EXPECT_EQ(ParseError("number: fast"), "f:1:9: expected double, got: fast");
  EXPECT_EQ(ParseError("fast: maybe"), "f:1:7: \"fast\" is \"maybe\"; must be true or false");
  EXPECT_EQ(ParseError("color: GREN"),
            "f:1:8: \"GREN\" is not a value of \"color\"; did you mean \"GREEN\"? values there: GREEN, RED");
}

TEST(TextProtoErrorTest, GivenTwice) {
  EXPECT_EQ(ParseError("epochs: 1\nepochs: 2"), "f:2:1: \"epochs\" is given a second time; keep one");
  EXPECT_EQ(ParseError("nothing {}\n  count: 2"),
            "f:2:3: \"count\" excludes \"nothing\", which is given already; keep one");
  EXPECT_THAT(ParseError(absl::StrCat("plugin { ", kLeaf, " {}\n", kOther, " {} }")), HasSubstr("f:2:"));
}

TEST(TextProtoErrorTest, EndOfText) {
  EXPECT_EQ(ParseError("part {\n  size: 1\n"), "f:3:1: the text ends inside a message; close it with \"}\"");
  EXPECT_THAT(ParseError("name: \"a"), HasSubstr("f:1:9: "));
}

TEST(TextProtoErrorTest, TabsCountAsTheTokenizerCounts) {
  EXPECT_THAT(ParseError("\tepcohs: 3"), HasSubstr("f:1:9: prunelab.TestRoot has no field"));
}

TEST(TextProtoErrorTest, NotUtf8) {
  EXPECT_EQ(ParseError("name: \"a\"\n# \xff"), "f:2:3: byte 0xff is not UTF-8; save the file as UTF-8 text");
  EXPECT_THAT(ParseError("# \xc0\xaf"), HasSubstr("f:1:3: byte 0xc0"));      // overlong
  EXPECT_THAT(ParseError("# \xed\xa0\x80"), HasSubstr("f:1:3: byte 0xed"));  // a surrogate
  EXPECT_THAT(ParseError("# \xe2\x82"), HasSubstr("f:1:3: byte 0xe2"));      // cut short
  EXPECT_EQ(Root("name: \"\xe2\x82\xac\xf0\x9f\x98\x80\"").name(), "\xe2\x82\xac\xf0\x9f\x98\x80");
}

TEST(TextProtoErrorTest, AByteOrderMarkIsPassedOver) {
  EXPECT_EQ(Root("\xEF\xBB\xBFname: \"a\"\r\nepochs: 3\r\n").epochs(), 3);
  EXPECT_EQ(ParseError("\xEF\xBB\xBF"
                       "epochs: x"),
            "f:1:9: expected integer, got: x");  // columns count as in an editor
  EXPECT_EQ(ParseError("epochs: 3\n\xEF\xBB\xBF"
                       "fast: true"),
            "f:2:1: a byte order mark (U+FEFF) within the text; remove it");
  TestRoot root;
  const std::string path = ::testing::TempDir() + "/mark.textproto";
  ASSERT_TRUE(WriteFileAtomically(path, "\xEF\xBB\xBF\n").ok());
  EXPECT_THAT(std::string(TextProtoSource::ParseFile(path, &root).status().message()), HasSubstr("is empty"));
}

TEST(TextProtoErrorTest, OtherEncodingsAreNamed) {
  const auto utf16 = [](const char* text, bool big_endian) {
    std::string bytes;
    for (; *text != '\0'; ++text) bytes += big_endian ? std::string{'\0', *text} : std::string{*text, '\0'};
    return bytes;
  };
  const std::string expected = "f:1:1: the text is UTF-16, which some editors call Unicode; save it as UTF-8";
  EXPECT_EQ(ParseError("\xFF\xFE" + utf16("name: \"a\"", false)), expected);
  EXPECT_EQ(ParseError("\xFE\xFF" + utf16("name: \"a\"", true)), expected);
  EXPECT_EQ(ParseError(utf16("name: \"a\"", false)), expected);
  EXPECT_EQ(ParseError(utf16("name: \"a\"", true)), expected);
  EXPECT_THAT(ParseError(std::string("\xFF\xFE\0\0n\0\0\0", 8)), HasSubstr("the text is UTF-32"));
}

TEST(TextProtoErrorTest, TypographicCharacters) {
  EXPECT_EQ(ParseError("epochs: 3\nname: \u201ca\u201d"),
            "f:2:7: \u201c is a typographic quote (U+201C); write \"\n"
            "f:2:11: \u201d is a typographic quote (U+201D); write \"");
  EXPECT_EQ(ParseError("name: \u2018a\u2019"),
            "f:1:7: \u2018 is a typographic quote (U+2018); write '\n"
            "f:1:11: \u2019 is a typographic quote (U+2019); write '");
  EXPECT_EQ(ParseError("name: \"a\u201d\nepochs: 3"), "f:1:9: \u201d is a typographic quote (U+201D); write \"");
  EXPECT_EQ(ParseError("name: \"a\u201d"), "f:1:9: \u201d is a typographic quote (U+201D); write \"");
  EXPECT_EQ(ParseError("number: \u22123"), "f:1:9: \u2212 is a typographic dash (U+2212); write -");
  EXPECT_EQ(ParseError("number:\u00a03"), "f:1:8: a special space (U+00A0); write an ordinary one");
  EXPECT_EQ(ParseError("number\uff1a 3"), "f:1:7: \uff1a is a full-width character (U+FF1A); write :");
  EXPECT_EQ(ParseError("\u00e9: 3"),
            "f:1:1: \u00e9 (U+00E9) is allowed in strings and comments only; write it with ASCII characters");
  std::string many;
  for (int i = 0; i < 12; ++i) many += "\u201c\n";
  EXPECT_THAT(ParseError(many),
              HasSubstr("f:10:1: \u201c is a typographic quote (U+201C); write \"; and 2 more such places"));
  // They are allowed in strings and comments.
  EXPECT_EQ(Root("# don\u2019t \u201c\nname: \"\u201ca\u201d \\\"\u2013 '\" # \u00e9 \"\nepochs: 3").name(),
            "\u201ca\u201d \"\u2013 '");
}

TEST(TextProtoErrorTest, CommasInNumbers) {
  EXPECT_EQ(ParseError("epochs: 1\nnumber: 3,2"), "f:2:9: \"3,2\" has a comma in a number; write 3.2");
  EXPECT_EQ(ParseError("number: 0,02\nepochs: 1"), "f:1:9: \"0,02\" has a comma in a number; write 0.02");
  EXPECT_EQ(ParseError("number: -1,5e-3 epochs: 1"), "f:1:10: \"1,5e-3\" has a comma in a number; write 1.5e-3");
  EXPECT_EQ(ParseError("epochs: 1,000"),
            "f:1:9: \"1,000\" has a comma in a number; write 1.000, or 1000 if thousands are meant");
  EXPECT_EQ(ParseError(absl::StrCat("plugin { ", kLeaf, " { rate: 0,5 } }")),
            "f:1:58: \"0,5\" has a comma in a number; write 0.5");
  EXPECT_EQ(Root("epochs: 1, number: 2").number(), 2);  // commas between fields are fine
  EXPECT_EQ(Root("milestone: [1,2]").milestone_size(), 2);
}

TEST(TextProtoErrorTest, NestingWithoutEndIsRefused) {
  std::string text = "plugin { ", end = " }";
  for (int i = 0; i < 5000; ++i) {
    absl::StrAppend(&text, kLeaf, " { inner { ");
    end += " } }";
  }
  EXPECT_THAT(ParseError(text + end), HasSubstr("too deep"));
}

TEST(TextProtoErrorTest, Files) {
  const std::string folder = ::testing::TempDir();
  TestRoot root;
  EXPECT_EQ(TextProtoSource::ParseFile(folder + "/absent", &root).status().message(),
            folder + "/absent: cannot read: No such file or directory; check the path");
  EXPECT_THAT(std::string(TextProtoSource::ParseFile(folder, &root).status().message()), HasSubstr("is a folder"));
  const std::string path = folder + "/file.textproto";
  ASSERT_TRUE(WriteFileAtomically(path, " \n\n").ok());
  EXPECT_EQ(TextProtoSource::ParseFile(path, &root).status().message(),
            path + ": is empty; it must hold a prunelab.TestRoot in protobuf's text format");
  ASSERT_TRUE(WriteFileAtomically(path, "\nepochs: x").ok());
  EXPECT_EQ(TextProtoSource::ParseFile(path, &root).status().message(), path + ":2:9: expected integer, got: x");
  ASSERT_TRUE(WriteFileAtomically(path, "epochs: 3").ok());
  const auto source = TextProtoSource::ParseFile(path, &root);
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ(root.epochs(), 3);
  EXPECT_EQ((*source)->name(), path);
}

// ---------------------------------------------------------------------------------------------------------------------
// Places

TEST(TextProtoPlaceTest, FindsFieldsInsideAnys) {
  TestRoot root;
  const auto source = TextProtoSource::Parse("f",
                                             absl::StrCat(R"(epochs: 3
part { size: 1
  name: "a" }
piece { name: "x" }
piece {
  name: "y" }
milestone: [1,
  2]
plugin {
  )",
                                                          kLeaf, R"( {
    rate: 0.1
    inner { )",
                                                          kOther, R"( {
      rate: 0.2 } }
  }
}
)"),
                                             &root);
  ASSERT_TRUE(source.ok()) << source.status();
  const TextProtoSource& s = **source;
  EXPECT_EQ(s.Place("epochs"), "f:1:1");
  EXPECT_EQ(s.Place("part.name"), "f:3:3");
  EXPECT_EQ(s.Place("piece"), "f:4:1");
  EXPECT_EQ(s.Place("piece[1].name"), "f:6:3");
  EXPECT_EQ(s.Place("piece[0].size"), "f:4:1");  // not set: its parent's
  EXPECT_EQ(s.Place("milestone[1]"), "f:7:1");
  EXPECT_EQ(s.Place("plugin"), "f:9:1");
  EXPECT_EQ(s.Place("plugin.rate"), "f:11:5");
  EXPECT_EQ(s.Place("plugin.inner.rate"), "f:13:7");
  EXPECT_EQ(s.Place("plugin.limit"), "f:9:1");
  EXPECT_EQ(s.Place("fast"), "f");
  EXPECT_EQ(s.Place(""), "f");
  EXPECT_EQ(s.Place("nonsense.x[3"), "f");
  for (const char* path :
       {"epochs", "piece", "piece[1].name", "milestone[1]", "plugin", "plugin.rate", "plugin.inner.rate"}) {
    EXPECT_TRUE(s.Has(path)) << path;
  }
  for (const char* path :
       {"fast", "piece[2]", "piece[0].size", "milestone[2]", "plugin.limit", "epochs.x", "piece[-1]", "piece[x]"}) {
    EXPECT_FALSE(s.Has(path)) << path;
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Merging

TEST(MergePatchTest, ScalarsReplaceEvenByTheirDefaultOrZero) {
  EXPECT_EQ(Merged("epochs: 3 fast: true", "epochs: 4"), "epochs: 4\nfast: true\n");
  EXPECT_EQ(Merged("epochs: 3 fast: true", "epochs: 0 fast: false"), "epochs: 0\n");
}

TEST(MergePatchTest, MessagesMergeFieldByField) {
  EXPECT_EQ(Merged("part { name: \"a\" size: 1 }", "part { size: 2 }"), "part.name: \"a\"\npart.size: 2\n");
  EXPECT_EQ(Merged("", "part { size: 2 }"), "part.size: 2\n");
}

TEST(MergePatchTest, RepeatedFieldsReplaceAsAWhole) {
  EXPECT_EQ(Merged("milestone: [1, 2, 3]", "milestone: [4]"), "milestone[0]: 4\n");
  EXPECT_EQ(Merged("piece { name: \"a\" size: 1 } piece {}", "piece { name: \"b\" }"), "piece[0].name: \"b\"\n");
  EXPECT_EQ(Merged("milestone: [1, 2]", "epochs: 3"), "epochs: 3\nmilestone[0]: 1\nmilestone[1]: 2\n");
}

TEST(MergePatchTest, AnAnyOfTheSameTypeIsMergedInside) {
  EXPECT_EQ(Merged(absl::StrCat("plugin { ", kLeaf, " { rate: 0.1 limit: 3 } }"),
                   absl::StrCat("plugin { ", kLeaf, " { rate: 0.5 } }")),
            "plugin: [prunelab.TestLeaf]\nplugin.limit: 3\n");
}

TEST(MergePatchTest, AnAnyOfAnotherTypeReplaces) {
  EXPECT_EQ(
      Merged(absl::StrCat("plugin { ", kLeaf, " { rate: 0.1 limit: 3 } }"), absl::StrCat("plugin { ", kOther, " {} }")),
      "plugin: [prunelab.TestOtherLeaf]\n");
  EXPECT_EQ(Merged("", absl::StrCat("plugin { ", kOther, " { rate: 0 } }")),
            "plugin: [prunelab.TestOtherLeaf]\nplugin.rate: 0\n");
}

TEST(MergePatchTest, AnysInsideAnys) {
  const std::string base =
      absl::StrCat("plugin { ", kLeaf, " { rate: 0.1 inner { ", kLeaf, " { rate: 0.2 limit: 1 } } } }");
  EXPECT_EQ(Merged(base, absl::StrCat("plugin { ", kLeaf, " { inner { ", kLeaf, " { limit: 2 } } } }")),
            "plugin: [prunelab.TestLeaf]\nplugin.rate: 0.1\nplugin.inner: [prunelab.TestLeaf]\nplugin.inner.rate: 0.2\n"
            "plugin.inner.limit: 2\n");
}

TEST(MergePatchTest, AChoiceEndsTheOther) {
  EXPECT_EQ(Merged("something { size: 1 }", "nothing {}"), "nothing: {}\n");
  EXPECT_EQ(Merged("count: 3", "something { name: \"a\" }"), "something.name: \"a\"\n");
  EXPECT_EQ(Merged("something { size: 1 }", "count: 0"), "count: 0\n");
  EXPECT_EQ(Merged("something { size: 1 }", "something { name: \"a\" }"), "something.name: \"a\"\nsomething.size: 1\n");
}

// ---------------------------------------------------------------------------------------------------------------------
// Canonical text

TEST(CanonicalTextTest, ByNumberWithoutDefaults) {
  EXPECT_EQ(Canonical("name: \"a\" number: 0.1 fast: true color: GREEN epochs: 3"),
            "epochs: 3\nfast: true\ncolor: GREEN\nnumber: 0.1\nname: \"a\"\n");
  EXPECT_EQ(Canonical("epochs: 10 fast: false color: RED number: 1 single: 1"), "");
}

TEST(CanonicalTextTest, FieldsWithoutADefaultCountWhenSet) {
  EXPECT_EQ(Canonical(absl::StrCat("plugin { ", kLeaf, " { limit: 0 } }")),
            "plugin: [prunelab.TestLeaf]\nplugin.limit: 0\n");
}

TEST(CanonicalTextTest, EmptyMessages) {
  EXPECT_EQ(Canonical("part {}"), "");
  EXPECT_EQ(Canonical("part { size: 7 }"), "");
  EXPECT_EQ(Canonical("piece {} piece { size: 7 }"), "piece[0]: {}\npiece[1]: {}\n");
  EXPECT_EQ(Canonical("nothing {}"), "nothing: {}\n");
  EXPECT_EQ(Canonical("something {}"), "something: {}\n");
  EXPECT_EQ(Canonical(absl::StrCat("plugin { ", kOther, " {} }")), "plugin: [prunelab.TestOtherLeaf]\n");
  EXPECT_EQ(Canonical("plugin {}"), "");
}

TEST(CanonicalTextTest, AMessageMaySayMoreByBeingThere) {
  EXPECT_EQ(Canonical("given {}"), "given: {}\n");
  EXPECT_EQ(Canonical("given { size: 7 }"), "given: {}\n");
  EXPECT_EQ(Canonical("given { size: 8 }"), "given.size: 8\n");
}

TEST(CanonicalTextTest, ExecutionIsLeftOut) {
  EXPECT_EQ(Canonical("cache: \"/tmp\" storage { size: 3 } epochs: 2"), "epochs: 2\n");
}

TEST(CanonicalTextTest, NumbersInTheirShortestForm) {
  EXPECT_EQ(Canonical("number: 0.10000000000000001"), "number: 0.1\n");
  EXPECT_EQ(Canonical("number: 1e-4"), "number: 1e-04\n");
  EXPECT_EQ(Canonical("number: 0.30000000000000004 single: 0.1"), "single: 0.1\nnumber: 0.30000000000000004\n");
  EXPECT_EQ(Canonical("number: -0.0"), Canonical("number: 0"));
  EXPECT_EQ(Canonical("number: nan"), "number: nan\n");
  EXPECT_EQ(Canonical("number: -inf"), "number: -inf\n");
  TestRoot root;
  for (const double value : {1.0 / 3, 1e300 / 7, 5e-324, std::nextafter(1.0, 2.0), 123456789012345680.0}) {
    root.set_number(value);
    const absl::StatusOr<std::string> text = CanonicalText(root);
    ASSERT_TRUE(text.ok());
    EXPECT_EQ(std::strtod(text->c_str() + 8, nullptr), value) << *text;
  }
}

TEST(CanonicalTextTest, AValueCannotLookLikeALine) {
  EXPECT_EQ(Canonical(R"(name: "a\"\nepochs: 3")"), "name: \"a\\\"\\nepochs: 3\"\n");
}

TEST(CanonicalTextTest, AnAnyByItself) {
  google::protobuf::Any any;
  TestLeaf leaf;
  leaf.set_rate(0.25);
  any.PackFrom(leaf);
  EXPECT_EQ(*CanonicalText(any), "[prunelab.TestLeaf]\nrate: 0.25\n");
  any.set_type_url("type.googleapis.com/prunelab.Absent");
  EXPECT_FALSE(CanonicalText(any).ok());
}

TEST(PrettyTextTest, ReadsBackEqual) {
  const std::string text = absl::StrCat("name: \"\xe2\x82\xac\" number: 0.1 milestone: [1, 2] cache: \"c\" plugin { ",
                                        kLeaf, " { rate: 0.25 } }");
  const std::string pretty = PrettyText(Root(text));
  EXPECT_THAT(pretty, HasSubstr("[type.googleapis.com/prunelab.TestLeaf] {\n    rate: 0.25\n"));
  EXPECT_THAT(pretty, HasSubstr("\xe2\x82\xac"));
  EXPECT_EQ(Root(pretty).SerializeAsString(), Root(text).SerializeAsString());
}

}  // namespace
}  // namespace prunelab
