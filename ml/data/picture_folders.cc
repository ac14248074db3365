#include "ml/data/picture_folders.h"

#include <sys/stat.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostNamed = 10;
constexpr char kWanted[] = "must hold train/CLASS/*.jpg|png and test/CLASS/*.jpg|png (or val/CLASS/...)";
constexpr char kAnnotations[] = "val_annotations.txt";
constexpr char kAnnotated[] = "images";  // the folder of the pictures that the annotations name

using Names = std::vector<std::string>;

// In the order in which they are searched for.
const Names& TrainNames() {
  static const auto* names = new Names{"train", "training"};
  return *names;
}
const Names& TestNames() {
  static const auto* names = new Names{"test", "testing", "val", "valid", "validation"};
  return *names;
}

bool Contains(const Names& names, absl::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool HasEnding(const std::string& name, const Names& endings) {
  const size_t dot = name.rfind('.');
  return dot != std::string::npos && Contains(endings, absl::AsciiStrToLower(name.substr(dot + 1)));
}

bool IsPicture(const std::string& name) {
  static const auto* endings = new Names{"jpg", "jpeg", "png"};
  return HasEnding(name, *endings);
}

bool IsPictureOfAnotherKind(const std::string& name) {
  static const auto* endings = new Names{"bmp", "gif",  "webp", "tif", "tiff", "ppm",  "pgm",  "pbm",
                                         "pnm", "jfif", "jpe",  "jp2", "heic", "heif", "avif", "tga"};
  return HasEnding(name, *endings);
}

// Left there by an operating system or an editor.
bool IsLeftBehind(const std::string& name) {
  static const auto* names = new Names{"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"};
  return absl::StartsWith(name, ".") || Contains(*names, absl::AsciiStrToLower(name));
}

std::string ShownName(const std::string& name) {
  const bool odd = absl::StripAsciiWhitespace(name).size() != name.size() ||
                   std::any_of(name.begin(), name.end(), [](unsigned char c) { return absl::ascii_iscntrl(c); });
  return odd ? absl::StrCat("\"", absl::Utf8SafeCHexEscape(name), "\"") : name;
}

// The name in Unicode's composed form (NFC), in which each character is written in only one way; unchanged if it is not
// UTF-8.
std::string Composed(const std::string& name) {
  utf8proc_uint8_t* composed = utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(name.c_str()));
  if (composed == nullptr) return name;
  std::string result = reinterpret_cast<const char*>(composed);
  std::free(composed);
  return result;
}

// Says how two names that look the same differ.
std::string TwoForms(const std::string& a, const std::string& b) {
  return absl::StrCat("\"", absl::CHexEscape(a), "\" and \"", absl::CHexEscape(b), "\" are both ", Composed(a),
                      ", one composed (NFC) and one decomposed (NFD, as macOS writes it)");
}

struct Entry {
  std::string name;
  fs::file_type type;  // after following a symbolic link; not_found if it leads nowhere
};

// Sorted by name.
absl::StatusOr<std::vector<Entry>> EntriesOf(const std::string& folder) {
  std::vector<Entry> entries;
  std::error_code error;
  fs::directory_iterator i(folder, error);
  for (; !error && i != fs::directory_iterator(); i.increment(error)) {
    std::error_code unknown;
    // Ask the file system only about links: the types of the others came with their names.
    const fs::file_type type = i->is_directory(unknown)      ? fs::file_type::directory
                               : i->is_regular_file(unknown) ? fs::file_type::regular
                               : unknown                     ? fs::file_type::not_found
                                                             : i->status(unknown).type();
    entries.push_back({i->path().filename().string(), type});
  }
  if (error) {
    PRUNELAB_RETURN_IF_ERROR(ListFolder(folder).status());  // reports the error with its remedy
    return absl::UnavailableError(absl::StrCat(folder, ": the folder cannot be listed: ", error.message()));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

using FileId = std::pair<dev_t, ino_t>;

std::optional<FileId> IdOf(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return std::nullopt;
  return FileId(info.st_dev, info.st_ino);
}

// The folder and all folders that enclose it.
std::set<FileId> FoldersAbove(std::string folder) {
  std::set<FileId> above;
  for (std::optional<FileId> id = IdOf(folder); id && above.insert(*id).second; id = IdOf(folder)) folder += "/..";
  return above;
}

// Names of what was left out of a folder, relative to it; folders end in "/".
struct LeftOut {
  Names left_behind, other_kinds, loose, without_label, others, seen_already;
};

// Training or test data as they are found, before it is known whether they are usable.
struct Part {
  PictureListing listing;  // without the classes in `empty`
  Names empty;             // class folders without pictures
  LeftOut left_out;
};

// The pictures in base/name and all folders inside it, as paths relative to `base`. Folders in `seen` are left out.
absl::StatusOr<Names> PicturesBelow(const std::string& base, const std::string& name, std::set<FileId> seen,
                                    LeftOut& left_out) {
  std::map<std::string, Names> pictures;  // by folder
  std::set<std::string> waiting = {name};
  while (!waiting.empty()) {
    const std::string folder = *waiting.begin();
    waiting.erase(waiting.begin());
    const std::string path = JoinPath(base, folder);
    const std::optional<FileId> id = IdOf(path);
    if (id && !seen.insert(*id).second) {
      left_out.seen_already.push_back(folder + "/");
      continue;
    }
    PRUNELAB_ASSIGN_OR_RETURN(const std::vector<Entry> entries, EntriesOf(path));
    for (const Entry& entry : entries) {
      const std::string relative = JoinPath(folder, entry.name);
      const bool is_folder = entry.type == fs::file_type::directory;
      if (IsLeftBehind(entry.name)) {
        left_out.left_behind.push_back(is_folder ? relative + "/" : relative);
      } else if (is_folder) {
        waiting.insert(relative);
      } else if (entry.type != fs::file_type::regular && entry.type != fs::file_type::not_found) {
        left_out.others.push_back(relative);
      } else if (IsPicture(entry.name)) {
        pictures[folder].push_back(relative);  // a link that leads nowhere counts as a picture that cannot be decoded
      } else if (IsPictureOfAnotherKind(entry.name)) {
        left_out.other_kinds.push_back(relative);
      } else {
        left_out.others.push_back(relative);
      }
    }
  }
  Names all;
  for (const auto& [folder, names] : pictures) all.insert(all.end(), names.begin(), names.end());
  return all;
}

// Classes are folders.
absl::StatusOr<Part> PartOfClassFolders(const std::string& folder, const std::vector<Entry>& entries,
                                        const std::set<FileId>& above) {
  Part part;
  part.listing.folder = folder;
  for (const Entry& entry : entries) {
    const std::string& name = entry.name;
    const bool is_folder = entry.type == fs::file_type::directory;
    if (IsLeftBehind(name)) {
      part.left_out.left_behind.push_back(is_folder ? name + "/" : name);
      continue;
    }
    if (!is_folder) {
      Names& names = IsPicture(name)                ? part.left_out.loose
                     : IsPictureOfAnotherKind(name) ? part.left_out.other_kinds
                                                    : part.left_out.others;
      names.push_back(name);
      continue;
    }
    const std::optional<FileId> id = IdOf(JoinPath(folder, name));
    if (id && above.count(*id)) {  // a link that leads back is not a class
      part.left_out.seen_already.push_back(name + "/");
      continue;
    }
    PRUNELAB_ASSIGN_OR_RETURN(const Names pictures, PicturesBelow(folder, name, above, part.left_out));
    if (pictures.empty()) {
      part.empty.push_back(name);
      continue;
    }
    for (const std::string& picture : pictures) {
      part.listing.files.push_back(JoinPath(folder, picture));
      part.listing.labels.push_back(static_cast<int64_t>(part.listing.classes.size()));
    }
    part.listing.classes.push_back(name);
  }
  return part;
}

// Classes come from the lines "picture<tab>class<tab>..." of a file, as in Tiny ImageNet's val.
absl::StatusOr<Part> PartOfAnnotations(const std::string& folder, const std::set<FileId>& above) {
  Part part;
  part.listing.folder = folder;
  const std::string path = JoinPath(folder, kAnnotations);
  PRUNELAB_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, uint64_t{1} << 28));
  std::map<std::string, std::string> class_of;  // a picture's name -> its class
  int64_t line_number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    absl::ConsumeSuffix(&line, "\r");
    if (line.empty()) continue;
    const std::vector<std::string> fields = absl::StrSplit(line, '\t');
    if (fields.size() < 2 || fields[0].empty() || fields[1].empty()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", line_number, ": \"",
                                                     absl::Utf8SafeCHexEscape(line.substr(0, 80)),
                                                     "\" is not a picture's name, a tab, and its class"));
    }
    const auto [at, added] = class_of.emplace(fields[0], fields[1]);
    if (!added && at->second != fields[1]) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", line_number, ": ", ShownName(fields[0]),
                                                     " is of the class ", fields[1], ", but of ", at->second,
                                                     " in a line before; must have one class"));
    }
  }
  PRUNELAB_ASSIGN_OR_RETURN(const Names pictures, PicturesBelow(folder, kAnnotated, above, part.left_out));
  std::map<std::string, Names> by_class;
  for (const std::string& picture : pictures) {
    const auto found = class_of.find(picture.substr(sizeof(kAnnotated)));  // the name and its "/" have the same length
    if (found == class_of.end()) {
      part.left_out.without_label.push_back(picture);
      continue;
    }
    by_class[found->second].push_back(picture);
    class_of.erase(found);
  }
  if (!class_of.empty()) {
    Names missing;
    for (const auto& [name, label] : class_of) missing.push_back(name);
    return absl::InvalidArgumentError(absl::StrCat(path, ": names ",
                                                   Counted(missing.size(), "picture that is", "pictures that are"),
                                                   " not in ", JoinPath(folder, kAnnotated), ": ", SomeNames(missing)));
  }
  for (const auto& [name, names] : by_class) {
    for (const std::string& picture : names) {
      part.listing.files.push_back(JoinPath(folder, picture));
      part.listing.labels.push_back(static_cast<int64_t>(part.listing.classes.size()));
    }
    part.listing.classes.push_back(name);
  }
  return part;
}

absl::StatusOr<Part> LookInto(const std::string& root, const std::string& name) {
  const std::string folder = JoinPath(root, name);
  std::set<FileId> above = FoldersAbove(root);
  above.merge(FoldersAbove(folder));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<Entry> entries, EntriesOf(folder));
  const auto has = [&](absl::string_view wanted, fs::file_type type) {
    return std::any_of(entries.begin(), entries.end(),
                       [&](const Entry& entry) { return entry.name == wanted && entry.type == type; });
  };
  if (has(kAnnotations, fs::file_type::regular) && has(kAnnotated, fs::file_type::directory)) {
    return PartOfAnnotations(folder, above);
  }
  return PartOfClassFolders(folder, entries, above);
}

// Why the part cannot be test data although it may contain pictures: it has no labels. "" if it has labels.
std::string WhyUnlabelled(const Part& part, const Names& train_classes) {
  const Names& classes = part.listing.classes;
  const auto is_class = [&](const std::string& name) {
    return std::any_of(train_classes.begin(), train_classes.end(),
                       [&](const std::string& known) { return Composed(known) == Composed(name); });
  };
  // Class folders whose pictures cannot be read are test data that the user has to repair.
  if (!part.left_out.other_kinds.empty() && std::any_of(part.empty.begin(), part.empty.end(), is_class)) return "";
  const std::string pictures = Counted(part.listing.files.size(), "picture", "pictures");
  if (classes.empty() && part.left_out.loose.empty()) return "it has no .jpg, .jpeg or .png file in a class folder";
  if (classes.empty()) {
    return absl::StrCat("its ", Counted(part.left_out.loose.size(), "picture is", "pictures are"),
                        " not in a class folder");
  }
  if (classes.size() > 1 || is_class(classes.front())) return "";
  return absl::StrCat("it has ", pictures, " in the one folder ", ShownName(classes.front()),
                      ", which is not a class of the training data");
}

// Refuses a part that is not a set of classes.
absl::Status CheckClasses(const Part& part) {
  const std::string& folder = part.listing.folder;
  const LeftOut& left_out = part.left_out;
  const std::string other_kinds =
      left_out.other_kinds.empty()
          ? ""
          : absl::StrCat(
                "; ",
                Counted(left_out.other_kinds.size(), "picture is of a kind that is", "pictures are of kinds that are"),
                " not read: ", SomeNames(left_out.other_kinds), "; convert them to PNG");
  if (!part.empty.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(folder, ": no .jpg, .jpeg or .png file in the class folders ",
                                                   SomeNames(part.empty), other_kinds));
  }
  if (part.listing.classes.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        folder, ": has no folders; must have one for each class",
        left_out.loose.empty() ? ""
                               : absl::StrCat(" (", Counted(left_out.loose.size(), "picture lies", "pictures lie"),
                                              " here without a class)"),
        other_kinds));
  }
  std::map<std::string, std::string> by_form;
  for (const std::string& name : part.listing.classes) {
    const auto [at, added] = by_form.emplace(Composed(name), name);
    if (added) continue;
    return absl::InvalidArgumentError(absl::StrCat(folder, ": the class folders ", TwoForms(at->second, name),
                                                   "; put the pictures of both into one folder"));
  }
  return absl::OkStatus();
}

absl::Status CheckSameClasses(const std::string& root, const PictureListing& train, const PictureListing& test) {
  const Names &a = train.classes, &b = test.classes;
  Names only_train, only_test, differences;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(only_train));
  std::set_difference(b.begin(), b.end(), a.begin(), a.end(), std::back_inserter(only_test));
  for (const std::string& in_train : only_train) {
    for (const std::string& in_test : only_test) {
      if (Composed(in_train) != Composed(in_test)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat(root, ": a class is written in two Unicode forms: ", TwoForms(in_train, in_test),
                       "; the first is the folder in ", train.folder, ", the second that in ", test.folder,
                       "; rename one of them, and any others in the same way (convmv --nfc does this)"));
    }
  }
  if (!only_train.empty()) differences.push_back(absl::StrCat("only in train: ", SomeNames(only_train)));
  if (!only_test.empty()) differences.push_back(absl::StrCat("only in ", test.folder, ": ", SomeNames(only_test)));
  if (!differences.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(root, ": the class folders of training and test data differ: ",
                                                   absl::StrJoin(differences, "; "), "; both must have the same"));
  }
  if (a.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(root, ": has one class, ", ShownName(a.front()), "; must have two or more"));
  }
  return absl::OkStatus();
}

// The folders with these names, in upper or lower case. They are in the order of `names`; for the same name the one in
// lower case comes first.
Names Candidates(const std::vector<Entry>& entries, const Names& names) {
  std::vector<std::tuple<size_t, bool, std::string>> found;
  for (const Entry& entry : entries) {
    if (entry.type != fs::file_type::directory) continue;
    const auto at = std::find(names.begin(), names.end(), absl::AsciiStrToLower(entry.name));
    if (at != names.end()) found.emplace_back(at - names.begin(), *at != entry.name, entry.name);
  }
  std::sort(found.begin(), found.end());
  Names sorted;
  for (const auto& [place, in_capitals, name] : found) sorted.push_back(name);
  return sorted;
}

Names FoldersOf(const std::vector<Entry>& entries) {
  Names folders;
  for (const Entry& entry : entries) {
    if (entry.type == fs::file_type::directory && !IsLeftBehind(entry.name)) folders.push_back(entry.name);
  }
  return folders;
}

// What the user probably meant by a folder without train or without test.
std::string Hint(const std::string& root, const std::vector<Entry>& entries) {
  const std::string name =
      absl::AsciiStrToLower(fs::path(std::string(absl::StripSuffix(root, "/"))).filename().string());
  if (Contains(TrainNames(), name) || Contains(TestNames(), name)) {
    return absl::StrCat("; if it is the data's ", name, ", path must be the folder above it");
  }
  Names with_pictures;
  const Names folders = FoldersOf(entries);
  for (const std::string& folder : folders) {
    const absl::StatusOr<std::vector<Entry>> inside = EntriesOf(JoinPath(root, folder));
    if (!inside.ok()) continue;
    if (!Candidates(*inside, TrainNames()).empty()) {
      return absl::StrCat("; its folder ", ShownName(folder), " has one: path may have to be ", JoinPath(root, folder));
    }
    if (std::any_of(inside->begin(), inside->end(), [](const Entry& entry) { return IsPicture(entry.name); })) {
      with_pictures.push_back(folder);
    }
  }
  if (!with_pictures.empty() && Candidates(entries, TrainNames()).empty()) {
    return absl::StrCat("; it has pictures in the folders ", SomeNames(with_pictures),
                        ": where these are classes that are not split yet, put a part of each class's pictures into "
                        "test/CLASS and the others into train/CLASS");
  }
  return folders.empty() ? "" : absl::StrCat("; it has the folders ", SomeNames(folders));
}

void NoteLeftOut(const Part& part, Names& notes) {
  const auto note = [&](const Names& names, const char* one, const char* several) {
    if (names.empty()) return;
    notes.push_back(
        absl::StrCat(part.listing.folder, ": left out ", Counted(names.size(), one, several), ": ", SomeNames(names)));
  };
  const LeftOut& left_out = part.left_out;
  note(left_out.left_behind, "hidden file or file of the system", "hidden files or files of the system");
  note(left_out.other_kinds, "picture of a kind that is not read (to be converted to PNG, which keeps its pixels)",
       "pictures of kinds that are not read (to be converted to PNG, which keeps their pixels)");
  note(left_out.loose, "picture outside of the class folders", "pictures outside of the class folders");
  note(left_out.without_label, "picture without a line in val_annotations.txt",
       "pictures without a line in val_annotations.txt");
  note(left_out.others, "file that is not .jpg, .jpeg or .png", "files that are not .jpg, .jpeg or .png");
  note(left_out.seen_already, "folder that was already visited or encloses it (a symbolic link leads there)",
       "folders that were already visited or enclose it (symbolic links lead there)");
}

std::string PicturesOf(const Part& part) {
  return Counted(part.listing.files.size() + part.left_out.loose.size() + part.left_out.without_label.size(), "picture",
                 "pictures");
}

}  // namespace

std::string SomeNames(const std::vector<std::string>& names) {
  std::vector<std::string> shown;
  for (size_t i = 0; i < std::min(names.size(), kMostNamed); ++i) shown.push_back(ShownName(names[i]));
  return absl::StrCat(absl::StrJoin(shown, ", "),
                      names.size() > kMostNamed ? absl::StrCat(", and ", names.size() - kMostNamed, " more") : "");
}

std::string Counted(size_t count, const std::string& singular, const std::string& plural) {
  return absl::StrCat(count, " ", count == 1 ? singular : plural);
}

absl::StatusOr<PictureFolders> FindPictures(const std::string& folder) {
  if (!PathExists(folder)) return absl::NotFoundError(absl::StrCat(folder, ": no such folder; it ", kWanted));
  if (!IsFolder(folder)) {
    return absl::InvalidArgumentError(absl::StrCat(folder, ": is a file; must be a folder, and ", kWanted));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<Entry> entries, EntriesOf(folder));
  const Names train_names = Candidates(entries, TrainNames()), test_names = Candidates(entries, TestNames());
  if (train_names.empty()) {
    return absl::NotFoundError(absl::StrCat(folder, ": has no folder train; it ", kWanted, Hint(folder, entries)));
  }
  if (test_names.empty()) {
    return absl::NotFoundError(absl::StrCat(folder, ": has neither test nor val; it ", kWanted, Hint(folder, entries)));
  }
  PRUNELAB_ASSIGN_OR_RETURN(Part train, LookInto(folder, train_names.front()));
  PRUNELAB_RETURN_IF_ERROR(CheckClasses(train));

  std::vector<Part> tests;
  Names unlabelled;  // for each the reason why it has no labels, or ""
  for (const std::string& name : test_names) {
    PRUNELAB_ASSIGN_OR_RETURN(Part part, LookInto(folder, name));
    unlabelled.push_back(WhyUnlabelled(part, train.listing.classes));
    tests.push_back(std::move(part));
  }
  const size_t chosen = std::find(unlabelled.begin(), unlabelled.end(), "") - unlabelled.begin();
  if (chosen == tests.size()) {
    Names reasons;
    for (size_t i = 0; i < tests.size(); ++i) reasons.push_back(absl::StrCat(test_names[i], ": ", unlabelled[i]));
    return absl::InvalidArgumentError(absl::StrCat(folder, ": there are no test data with labels (",
                                                   absl::StrJoin(reasons, "; "),
                                                   "); must have a folder for each class, as train has"));
  }
  Part& test = tests[chosen];
  PRUNELAB_RETURN_IF_ERROR(CheckClasses(test));
  const absl::Status same = CheckSameClasses(folder, train.listing, test.listing);
  if (!same.ok()) {
    const auto fits = [&](const Part& part) {
      return part.empty.empty() && part.listing.classes == train.listing.classes;
    };
    const auto other = std::find_if(tests.begin(), tests.end(), fits);
    if (other == tests.end()) return same;
    return absl::InvalidArgumentError(absl::StrCat(same.message(), "; ", other->listing.folder,
                                                   " has train's classes: it would be used if ", test.listing.folder,
                                                   " were removed or renamed"));
  }

  PictureFolders found;
  Part beside;  // what is next to train and test
  beside.listing.folder = folder;
  Names unused;
  for (const Entry& entry : entries) {
    const bool is_folder = entry.type == fs::file_type::directory;
    if (IsLeftBehind(entry.name)) {
      beside.left_out.left_behind.push_back(is_folder ? entry.name + "/" : entry.name);
    } else if (is_folder && entry.name != train_names.front() && !Contains(test_names, entry.name)) {
      unused.push_back(entry.name);
    } else if (!is_folder && (IsPicture(entry.name) || IsPictureOfAnotherKind(entry.name))) {
      beside.left_out.loose.push_back(entry.name);
    }
  }
  NoteLeftOut(beside, found.notes);
  if (!unused.empty()) {
    found.notes.push_back(absl::StrCat(folder, ": ", Counted(unused.size(), "folder is", "folders are"),
                                       " not used: ", SomeNames(unused)));
  }
  for (size_t i = 0; i < tests.size(); ++i) {
    if (i == chosen) continue;
    const std::string why = unlabelled[i].empty() ? absl::StrCat("it has ", PicturesOf(tests[i])) : unlabelled[i];
    found.notes.push_back(absl::StrCat(tests[i].listing.folder, ": is not used (", why,
                                       "); the test data are those of ", test_names[chosen]));
  }
  NoteLeftOut(train, found.notes);
  NoteLeftOut(test, found.notes);
  found.train = std::move(train.listing);
  found.test = std::move(test.listing);
  return found;
}

}  // namespace prunelab
