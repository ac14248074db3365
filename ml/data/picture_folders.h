// Where the pictures of training and test data lie, and of which class each is, in the layouts in which data sets come:
//
//   flowers/train/daisy/1.jpg      flowers/test/daisy/2.jpg      a folder for each class
//   flowers/training/daisy/a/b.png flowers/val/daisy/more/3.jpg  folders within a class belong to it
//   tiny/val/images/val_0.JPEG     tiny/val/val_annotations.txt  Tiny ImageNet's way to label its validation data
//
//   PRUNELAB_ASSIGN_OR_RETURN(const PictureFolders folders, FindPictures("/data/flowers"));
//   folders.train.files[0];  // "/data/flowers/train/daisy/1.jpg"
//
// Training data are in the first of the folders train and training, test data in the first of test, testing, val, valid
// and validation that has labels, each in any case of letters. A test folder without labels (loose pictures, or all in
// one folder that is no class) is passed over where another has labels.
//
// Pictures are files ending in .jpg, .jpeg or .png, in any case. Their order is that of torchvision's ImageFolder:
// classes by name, within them folders by path, within these files by name, all by bytes. Symbolic links are followed;
// a folder that was looked through already for the same class, or lies above it, is left out, so that a link that leads
// back does no harm. Left out besides is what systems and editors leave behind: names that begin with a dot (.DS_Store,
// ._1.jpg, .ipynb_checkpoints), __MACOSX, Thumbs.db, desktop.ini, @eaDir. Whatever is left out is counted and named in
// `notes`; files beside the folders train and test that are no pictures are not looked at.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace prunelab {

// The pictures of training or test data.
struct PictureListing {
  std::string folder;
  std::vector<std::string> classes;  // sorted; each has a picture
  std::vector<std::string> files;    // paths
  std::vector<int64_t> labels;       // one a file: an index of `classes`
};

struct PictureFolders {
  PictureListing train, test;      // of the same classes, two or more
  std::vector<std::string> notes;  // what was left out, and which folder is taken for the test data; a sentence each
};

// Opens no picture. Errors: NotFound where a folder is missing, InvalidArgument where the folders do not fit: classes
// that are in one of the two only, a class without pictures, names that are equal but for their Unicode form.
absl::StatusOr<PictureFolders> FindPictures(const std::string& folder);

// The first of `names` and how many more there are: "a, b, and 3 more". Names that would not show as they are (blanks
// at an end, control characters) stand escaped and in quotes.
std::string SomeNames(const std::vector<std::string>& names);

// "1 picture", "2 pictures".
std::string Counted(size_t count, const std::string& singular, const std::string& plural);

}  // namespace prunelab
