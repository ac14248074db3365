// Finds the pictures of training and test data and their classes, in the layouts that data sets come in:
//
//   flowers/train/daisy/1.jpg      flowers/test/daisy/2.jpg      a folder for each class
//   flowers/training/daisy/a/b.png flowers/val/daisy/more/3.jpg  folders within a class belong to it
//   tiny/val/images/val_0.JPEG     tiny/val/val_annotations.txt  Tiny ImageNet's way to label its validation data
//
//   PRUNELAB_ASSIGN_OR_RETURN(const PictureFolders folders, FindPictures("/data/flowers"));
//   folders.train.files[0];  // "/data/flowers/train/daisy/1.jpg"
//
// Training data are in the first of the folders train and training. Test data are in the first of test, testing, val,
// valid and validation that has labels. Upper and lower case do not matter. A test folder without labels (loose
// pictures, or all of them in one folder that is not a class) is skipped if another folder has labels.
//
// Pictures are files ending in .jpg, .jpeg or .png, in upper or lower case. Their order is that of torchvision's
// ImageFolder: classes by name, within them folders by path, within these files by name, all by bytes. Symbolic links
// are followed. A folder that was already visited for the same class, or that encloses it, is left out, so a link that
// leads back does no harm. Files that systems and editors leave behind are left out, too: names that begin with a dot
// (.DS_Store, ._1.jpg, .ipynb_checkpoints), __MACOSX, Thumbs.db, desktop.ini, @eaDir. Whatever is left out is counted
// and named in `notes`; files next to the folders train and test that are not pictures are ignored.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace prunelab {

// The pictures of training or test data.
struct PictureListing {
  std::string folder;
  std::vector<std::string> classes;  // sorted; each has at least one picture
  std::vector<std::string> files;    // paths
  std::vector<int64_t> labels;       // one per file: an index into `classes`
};

struct PictureFolders {
  PictureListing train, test;      // both have the same classes, at least two
  std::vector<std::string> notes;  // what was left out, and which folder is used for the test data; one sentence each
};

// Opens no picture. Errors: NotFound if a folder is missing, InvalidArgument if the folders do not fit: classes that
// exist in only one of the two, a class without pictures, names that differ only in their Unicode form.
absl::StatusOr<PictureFolders> FindPictures(const std::string& folder);

// The first of `names` and how many more there are: "a, b, and 3 more". Names that would be hard to read (blanks at an
// end, control characters) are escaped and quoted.
std::string SomeNames(const std::vector<std::string>& names);

// "1 picture", "2 pictures".
std::string Counted(size_t count, const std::string& singular, const std::string& plural);

}  // namespace prunelab
