//! The store of the tests' S3 server: a folder, as in `s3s-fs`, with listings that include each object's ETag, objects that are read by
//! their ETag, and the rules of the server.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ArchiveStatus,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput,
    CreateBucketInput, CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput,
    DeleteBucketInput, DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput,
    DeleteObjectsInput, DeleteObjectsOutput, ETagCondition, GetBucketLocationInput,
    GetBucketLocationOutput, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput,
    HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput,
    Object, PutObjectInput, PutObjectOutput, Range, Restore, StorageClass, StreamingBlob,
    UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::rules::Rules;

/// Each bucket is a folder in it.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) files: FileSystem,
    pub(crate) rules: Rules,
    /// The folder.
    pub(crate) root: PathBuf,
}

/// How many bytes of an object are read at a time.
const PIECE: usize = 256 * 1024;

/// The bytes of an object, or of a range of it that was found to be one.
async fn body(path: &Path, range: Option<Range>) -> S3Result<StreamingBlob> {
    let failed = |_| s3_error!(InternalError);
    let mut file = File::open(path).await.map_err(failed)?;
    let length = file.metadata().await.map_err(failed)?.len();
    let range = match range {
        Some(range) => range.check(length)?,
        None => 0..length,
    };
    let _ = file
        .seek(SeekFrom::Start(range.start))
        .await
        .map_err(failed)?;
    let bytes = file.take(range.end - range.start);
    Ok(StreamingBlob::wrap(ReaderStream::with_capacity(
        bytes, PIECE,
    )))
}

/// Methods that are passed on unchanged: name, input and output.
macro_rules! pass_on {
    ($(($name:ident, $input:ty, $output:ty)),* $(,)?) => {
        #[async_trait::async_trait]
        impl S3 for Store {
            $(
                async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    self.check_payer(&request, &request.input.bucket)?;
                    self.files.$name(request).await
                }
            )*

            async fn list_buckets(
                &self,
                request: S3Request<ListBucketsInput>,
            ) -> S3Result<S3Response<ListBucketsOutput>> {
                self.files.list_buckets(request).await
            }

            async fn get_object(
                &self,
                request: S3Request<GetObjectInput>,
            ) -> S3Result<S3Response<GetObjectOutput>> {
                let GetObjectInput { bucket, key, .. } = &request.input;
                self.check_payer(&request, bucket)?;
                if let Some(ETagCondition::ETag(asked)) = &request.input.if_match {
                    let found = self.head(bucket, key).await?.e_tag;
                    if !found.is_some_and(|found| found.strong_cmp(asked)) {
                        return Err(s3_error!(PreconditionFailed));
                    }
                }
                if self.rules.is_unreadable(bucket, key) {
                    return Err(s3_error!(InvalidObjectState));
                }
                let path = self.root.join(bucket).join(key);
                let range = request.input.range;
                let mut answer = self.files.get_object(request).await?;
                // `s3s-fs` reads 4 KiB at a time, which takes more processor time than a client needs for the bytes.
                answer.output.body = Some(body(&path, range).await?);
                Ok(answer)
            }

            async fn put_object(
                &self,
                request: S3Request<PutObjectInput>,
            ) -> S3Result<S3Response<PutObjectOutput>> {
                let PutObjectInput { bucket, key, .. } = &request.input;
                self.check_payer(&request, bucket)?;
                if self.rules.is_refused(key) {
                    return Err(s3_error!(InternalError, "refused"));
                }
                self.files.put_object(request).await
            }

            async fn head_object(
                &self,
                request: S3Request<HeadObjectInput>,
            ) -> S3Result<S3Response<HeadObjectOutput>> {
                let HeadObjectInput { bucket, key, .. } = &request.input;
                self.check_payer(&request, bucket)?;
                let kept = self.rules.kept(bucket, key);
                let mut answer = self.files.head_object(request).await?;
                if let Some(kept) = kept {
                    let output = &mut answer.output;
                    output.storage_class = Some(StorageClass::from_static(kept.class));
                    output.archive_status = kept.archive_status.map(ArchiveStatus::from_static);
                    output.restore = kept.restore.map(Restore::from);
                }
                Ok(answer)
            }

            async fn list_objects(
                &self,
                request: S3Request<ListObjectsInput>,
            ) -> S3Result<S3Response<ListObjectsOutput>> {
                let bucket = request.input.bucket.clone();
                self.check_payer(&request, &bucket)?;
                let mut answer = self.files.list_objects(request).await?;
                self.complete(&bucket, answer.output.contents.as_mut()).await?;
                Ok(answer)
            }

            async fn list_objects_v2(
                &self,
                request: S3Request<ListObjectsV2Input>,
            ) -> S3Result<S3Response<ListObjectsV2Output>> {
                let bucket = request.input.bucket.clone();
                self.check_payer(&request, &bucket)?;
                let mut answer = self.files.list_objects_v2(request).await?;
                self.complete(&bucket, answer.output.contents.as_mut()).await?;
                Ok(answer)
            }
        }
    };
}

pass_on! {
    (abort_multipart_upload, AbortMultipartUploadInput, AbortMultipartUploadOutput),
    (complete_multipart_upload, CompleteMultipartUploadInput, CompleteMultipartUploadOutput),
    (copy_object, CopyObjectInput, CopyObjectOutput),
    (create_bucket, CreateBucketInput, CreateBucketOutput),
    (create_multipart_upload, CreateMultipartUploadInput, CreateMultipartUploadOutput),
    (delete_bucket, DeleteBucketInput, DeleteBucketOutput),
    (delete_object, DeleteObjectInput, DeleteObjectOutput),
    (delete_objects, DeleteObjectsInput, DeleteObjectsOutput),
    (get_bucket_location, GetBucketLocationInput, GetBucketLocationOutput),
    (head_bucket, HeadBucketInput, HeadBucketOutput),
    (list_parts, ListPartsInput, ListPartsOutput),
    (upload_part, UploadPartInput, UploadPartOutput),
    (upload_part_copy, UploadPartCopyInput, UploadPartCopyOutput),
}

impl Store {
    async fn complete(&self, bucket: &str, objects: Option<&mut Vec<Object>>) -> S3Result<()> {
        for object in objects.into_iter().flatten() {
            let key = object.key.clone().unwrap_or_default();
            object.e_tag = self.head(bucket, &key).await?.e_tag;
        }
        Ok(())
    }

    async fn head(&self, bucket: &str, key: &str) -> S3Result<HeadObjectOutput> {
        let input = HeadObjectInput {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            ..Default::default()
        };
        let answer = self.files.head_object(request(input)).await?;
        Ok(answer.output)
    }

    /// Refuses a request that does not say that whoever sends it pays, where that is needed.
    fn check_payer<T>(&self, request: &S3Request<T>, bucket: &str) -> S3Result<()> {
        let payer = request.headers.get("x-amz-request-payer");
        let pays = payer.is_some_and(|payer| payer == "requester");
        match pays || !self.rules.needs_payer(bucket) {
            true => Ok(()),
            false => Err(s3_error!(AccessDenied)),
        }
    }
}

/// An anonymous request.
fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: Default::default(),
        uri: Default::default(),
        headers: Default::default(),
        extensions: Default::default(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}
