//! Deletion vectors: which rows of a file are deleted (protocol section "Deletion Vectors").

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use deltalake::kernel::{DeletionVectorDescriptor, StorageType};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use roaring::RoaringTreemap;
use url::Url;
use uuid::Uuid;

use crate::error::{ErrorKind, NativeError, Result};

/// First bytes of a serialised vector, little-endian.
const MAGIC: u32 = 1_681_511_377;
const VERSION: u8 = 1;

/// Rows of a file by their position in it.
pub type Rows = RoaringTreemap;

/// Reads the vector of a file.
///
/// # Errors
/// `source`, naming the vector, where it is not what the log says: cut off, of another size, checksum or
/// number of rows.
pub async fn read(
    store: &Arc<dyn ObjectStore>,
    table: &Url,
    descriptor: &DeletionVectorDescriptor,
) -> Result<Rows> {
    let size = u64::try_from(descriptor.size_in_bytes).unwrap_or_default();
    let (name, bytes) = match descriptor.storage_type {
        StorageType::Inline => {
            let bytes = z85::decode(&descriptor.path_or_inline_dv)
                .map_err(|e| broken("inline", &format!("its text is no base 85: {e}")))?;
            let used = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len());
            ("inline".to_owned(), Bytes::from(bytes).slice(..used))
        }
        StorageType::UuidRelativePath | StorageType::AbsolutePath => {
            let path = path(table, descriptor)?;
            let name = path.to_string();
            let start = u64::try_from(descriptor.offset.unwrap_or_default()).unwrap_or_default();
            // The size stands before the vector, its checksum after it.
            let range = start..start + 4 + size + 4;
            let bytes = store.get_range(&path, range).await.map_err(|e| {
                let error = NativeError::from_store(&e);
                NativeError {
                    message: format!(
                        "the deletion vector {name} could not be read: {}",
                        error.message
                    ),
                    ..error
                }
            })?;
            (name.clone(), checked(&name, bytes, size)?)
        }
    };
    let rows = parse(&name, &bytes)?;
    if i64::try_from(rows.len()).ok() != Some(descriptor.cardinality) {
        return Err(broken(
            &name,
            &format!(
                "it has {} rows and the log says {}",
                rows.len(),
                descriptor.cardinality
            ),
        ));
    }
    Ok(rows)
}

/// The vector between its size and its checksum, once both are right.
fn checked(name: &str, bytes: Bytes, size: u64) -> Result<Bytes> {
    let end = usize::try_from(size + 4).unwrap_or(usize::MAX);
    let (Some(head), Some(body), Some(tail)) =
        (bytes.get(..4), bytes.get(4..end), bytes.get(end..end + 4))
    else {
        return Err(broken(name, "it is cut off"));
    };
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u32, |n, byte| n << 8 | u32::from(*byte))
    };
    if u64::from(number(head)) != size {
        return Err(broken(name, "its size is another than the log says"));
    }
    if crc32fast::hash(body) != number(tail) {
        return Err(broken(name, "its checksum is wrong"));
    }
    Ok(bytes.slice(4..end))
}

fn parse(name: &str, bytes: &[u8]) -> Result<Rows> {
    match bytes.split_first_chunk::<4>() {
        Some((magic, rest)) if u32::from_le_bytes(*magic) == MAGIC => {
            RoaringTreemap::deserialize_from(Cursor::new(rest))
                .map_err(|e| broken(name, &format!("it is no bitmap: {e}")))
        }
        _ => Err(broken(name, "it does not begin as a deletion vector does")),
    }
}

fn broken(name: &str, why: &str) -> NativeError {
    NativeError::new(
        ErrorKind::Source,
        format!("the deletion vector {name} is damaged: {why}"),
    )
}

/// The object that holds a vector.
fn path(table: &Url, descriptor: &DeletionVectorDescriptor) -> Result<Path> {
    let text = &descriptor.path_or_inline_dv;
    if descriptor.storage_type == StorageType::AbsolutePath {
        let beneath = text
            .strip_prefix(table.as_str())
            .map(|rest| rest.trim_start_matches('/'));
        return match beneath.map(Path::from_url_path) {
            Some(Ok(path)) => Ok(path),
            _ => Err(NativeError::new(
                ErrorKind::UnsupportedTableFeature,
                format!("the deletion vector {text} lies outside of the table"),
            )),
        };
    }
    let split = text
        .len()
        .checked_sub(20)
        .filter(|at| text.is_char_boundary(*at));
    let id = split
        .and_then(|at| z85::decode(&text[at..]).ok())
        .and_then(|bytes| Uuid::from_slice(&bytes).ok());
    match (split, id) {
        (Some(at), Some(id)) => Ok(named(&text[..at], id)),
        _ => Err(broken(text, "its name is none")),
    }
}

fn named(prefix: &str, id: Uuid) -> Path {
    let file = format!("deletion_vector_{id}.bin");
    match prefix {
        "" => Path::from(file),
        prefix => Path::from(format!("{prefix}/{file}")),
    }
}

/// A file of vectors in the making.
pub struct VectorFile {
    id: Uuid,
    bytes: Vec<u8>,
}

impl Default for VectorFile {
    fn default() -> Self {
        Self {
            id: Uuid::new_v4(),
            bytes: vec![VERSION],
        }
    }
}

impl VectorFile {
    /// Adds a vector, and gives what the log says of it.
    ///
    /// # Errors
    /// `resources_exhausted` for a vector that the format has no room for (2 GiB).
    pub fn add(&mut self, rows: &Rows) -> Result<DeletionVectorDescriptor> {
        let mut body = MAGIC.to_le_bytes().to_vec();
        rows.serialize_into(&mut body).map_err(|e| {
            NativeError::new(ErrorKind::Internal, format!("a deletion vector: {e}"))
        })?;
        let too_large = || {
            NativeError::new(
                ErrorKind::ResourcesExhausted,
                "the deletion vectors of the change take more than 2 GiB",
            )
        };
        let offset = i32::try_from(self.bytes.len()).map_err(|_| too_large())?;
        let size = i32::try_from(body.len()).map_err(|_| too_large())?;
        self.bytes.extend_from_slice(&size.to_be_bytes());
        self.bytes.extend_from_slice(&body);
        self.bytes
            .extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
        Ok(DeletionVectorDescriptor {
            storage_type: StorageType::UuidRelativePath,
            path_or_inline_dv: z85::encode(self.id.as_bytes()),
            offset: Some(offset),
            size_in_bytes: size,
            cardinality: i64::try_from(rows.len()).unwrap_or(i64::MAX),
        })
    }

    /// Puts the file into the table, if it has any vector.
    pub async fn put(self, store: &Arc<dyn ObjectStore>) -> Result<()> {
        if self.bytes.len() > 1 {
            store.put(&named("", self.id), self.bytes.into()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn vectors_come_back() {
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let table = Url::parse("memory:///t").unwrap();
        let mut file = VectorFile::default();
        let vectors: [Rows; 3] = [
            [0, 1, 7].into_iter().collect(),
            (0..100_000).collect(),
            [u64::from(u32::MAX), u64::from(u32::MAX) + 5]
                .into_iter()
                .collect(),
        ];
        let described: Vec<_> = vectors.iter().map(|rows| file.add(rows).unwrap()).collect();
        file.put(&store).await.unwrap();
        for (rows, descriptor) in vectors.iter().zip(&described) {
            assert_eq!(read(&store, &table, descriptor).await.unwrap(), *rows);
            let lies = DeletionVectorDescriptor {
                cardinality: 99,
                ..descriptor.clone()
            };
            assert!(read(&store, &table, &lies).await.is_err());
        }
    }
}
