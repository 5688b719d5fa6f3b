//! What can be wrong with a pickled batch.

/// Why a Python batch was refused. Offsets count bytes from the beginning of the file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// The file does not begin as a pickle of protocol 2 to 5.
    #[error("it is no pickle of protocol 2 to 5")]
    Protocol,
    /// The bytes end within an opcode or its argument.
    #[error("it is cut off: at byte {offset}, {wanted} bytes are needed and {left} are left")]
    Truncated {
        /// Where.
        offset: usize,
        /// Bytes that the opcode asks for.
        wanted: u64,
        /// Bytes there are.
        left: usize,
    },
    /// An opcode that these files have no use for.
    #[error("opcode 0x{opcode:02x} at byte {offset} does not occur in a batch of CIFAR; nothing of it was executed")]
    Opcode {
        /// The opcode.
        opcode: u8,
        /// Where.
        offset: usize,
    },
    /// A class or function other than those that make up an array.
    #[error("`{name}` at byte {offset} does not occur in a batch of CIFAR; nothing of it was imported or called")]
    Global {
        /// Module and name, escaped.
        name: String,
        /// Where.
        offset: usize,
    },
    /// An opcode finds no values, or others than it needs.
    #[error("the opcode at byte {offset} does not find the values that it needs")]
    Stack {
        /// Where.
        offset: usize,
    },
    /// Something is fetched that was not stored, or is no text.
    #[error("the opcode at byte {offset} fetches something that was not stored before")]
    Memo {
        /// Where.
        offset: usize,
    },
    /// Containers within containers, deeper than in any batch.
    #[error("at byte {offset}, more than {limit} containers are nested")]
    Nesting {
        /// Where.
        offset: usize,
        /// The limit.
        limit: usize,
    },
    /// More values than a file of this size can need.
    #[error("at byte {offset}, there are more than {limit} values, too many for a file of this size")]
    TooMany {
        /// Where.
        offset: usize,
        /// The limit.
        limit: usize,
    },
    /// A text is not valid UTF-8 or, where bytes were written as text, not Latin-1.
    #[error("the text at byte {offset} is damaged")]
    Text {
        /// Where.
        offset: usize,
    },
    /// The array is no plain two-dimensional array of bytes in row-major order.
    #[error("the array at byte {offset} is {found}, expected two-dimensional unsigned bytes in row-major order")]
    Array {
        /// Where.
        offset: usize,
        /// What is different.
        found: &'static str,
    },
    /// The array has not the bytes that its shape needs.
    #[error("the array at byte {offset} has {found} bytes, but a shape of {rows} x {columns}")]
    ArraySize {
        /// Where.
        offset: usize,
        /// Bytes found.
        found: usize,
        /// Rows of the shape.
        rows: usize,
        /// Columns of the shape.
        columns: usize,
    },
    /// A key occurs twice, or is no text.
    #[error("the dictionary at byte {offset} has a key twice, or one that is no text")]
    Keys {
        /// Where.
        offset: usize,
    },
    /// Bytes follow the end.
    #[error("{left} bytes follow its end")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// The whole is no dictionary.
    #[error("it holds no dictionary")]
    NoDictionary,
    /// An entry is missing.
    #[error("it has no entry `{key}`: not a batch of this data set")]
    Missing {
        /// The entry.
        key: &'static str,
    },
    /// An entry is something else.
    #[error("its entry `{key}` is not {expected}")]
    Kind {
        /// The entry.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The rows of the array are no images of 32x32 pixels.
    #[error("its images have {found} bytes, expected {expected}")]
    Columns {
        /// Bytes of a row.
        found: usize,
        /// Bytes of an image.
        expected: usize,
    },
    /// There are not as many labels as images.
    #[error("it has {images} images but {labels} labels")]
    Counts {
        /// Images.
        images: usize,
        /// Labels.
        labels: usize,
    },
    /// The array has no rows.
    #[error("it holds no images")]
    NoImages,
}
