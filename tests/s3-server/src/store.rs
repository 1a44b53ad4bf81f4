//! The store of the tests' S3 server: a folder, as in `s3s-fs`, with listings that include each object's ETag.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CreateBucketInput,
    CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteBucketInput,
    DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
    DeleteObjectsOutput, GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput,
    GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput,
    ListBucketsInput, ListBucketsOutput, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, ListPartsInput, ListPartsOutput, Object, PutObjectInput, PutObjectOutput,
    UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

use crate::Refused;

/// Each bucket is a folder in it.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) files: FileSystem,
    pub(crate) refused: Refused,
}

/// Methods that are passed on unchanged: name, input and output.
macro_rules! pass_on {
    ($(($name:ident, $input:ty, $output:ty)),* $(,)?) => {
        #[async_trait::async_trait]
        impl S3 for Store {
            $(
                async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    self.files.$name(request).await
                }
            )*

            async fn put_object(
                &self,
                request: S3Request<PutObjectInput>,
            ) -> S3Result<S3Response<PutObjectOutput>> {
                if self.refused.is(&request.input.key) {
                    return Err(s3_error!(InternalError, "refused"));
                }
                self.files.put_object(request).await
            }

            async fn list_objects(
                &self,
                request: S3Request<ListObjectsInput>,
            ) -> S3Result<S3Response<ListObjectsOutput>> {
                let bucket = request.input.bucket.clone();
                let mut answer = self.files.list_objects(request).await?;
                self.complete(&bucket, answer.output.contents.as_mut()).await?;
                Ok(answer)
            }

            async fn list_objects_v2(
                &self,
                request: S3Request<ListObjectsV2Input>,
            ) -> S3Result<S3Response<ListObjectsV2Output>> {
                let bucket = request.input.bucket.clone();
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
    (get_object, GetObjectInput, GetObjectOutput),
    (head_bucket, HeadBucketInput, HeadBucketOutput),
    (head_object, HeadObjectInput, HeadObjectOutput),
    (list_buckets, ListBucketsInput, ListBucketsOutput),
    (list_parts, ListPartsInput, ListPartsOutput),
    (upload_part, UploadPartInput, UploadPartOutput),
    (upload_part_copy, UploadPartCopyInput, UploadPartCopyOutput),
}

impl Store {
    async fn complete(&self, bucket: &str, objects: Option<&mut Vec<Object>>) -> S3Result<()> {
        for object in objects.into_iter().flatten() {
            let input = HeadObjectInput {
                bucket: bucket.to_owned(),
                key: object.key.clone().unwrap_or_default(),
                ..Default::default()
            };
            let answer = self.files.head_object(request(input)).await?;
            object.e_tag = answer.output.e_tag;
        }
        Ok(())
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
