//! Where firmware images are stored: a folder or a bucket.

use std::sync::Arc;

use object_store::{ObjectStore, local::LocalFileSystem};

use crate::{
    artifacts::Artifacts,
    config::{ArtifactPlace, Bucket, Config},
    failure::StartError,
};

/// Where firmware images are stored; a missing folder is created.
pub fn artifacts(config: &Config) -> Result<Artifacts, StartError> {
    let store: Arc<dyn ObjectStore> = match &config.artifacts {
        ArtifactPlace::Folder(path) => {
            let unusable = |cause| StartError::File { what: "create", path: path.clone(), cause };
            std::fs::create_dir_all(path).map_err(unusable)?;
            let folder = LocalFileSystem::new_with_prefix(path);
            let folder = folder.map_err(|error| unusable(std::io::Error::other(error)))?;
            Arc::new(folder.with_automatic_cleanup(true))
        }
        ArtifactPlace::S3(bucket) => s3(bucket)?,
    };
    Ok(Artifacts::new(store, config.artifact_limits))
}

/// A bucket. No request is sent yet: a store that is down must not stop devices' heartbeats.
#[cfg(feature = "s3")]
fn s3(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, StartError> {
    use object_store::aws::AmazonS3Builder;
    // An error means that it is installed already, and no other provider is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = AmazonS3Builder::new().with_bucket_name(&bucket.name).with_region(&bucket.region);
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    builder = match &bucket.access_key {
        Some((id, secret)) => builder.with_access_key_id(id).with_secret_access_key(secret.reveal()),
        None => builder.with_skip_signature(true),
    };
    let built = builder.build().map_err(|error| {
        StartError::refused(format!("the bucket {}: {error}", bucket.name), "check S3_ENDPOINT and S3_REGION")
    })?;
    Ok(Arc::new(built))
}

#[cfg(not(feature = "s3"))]
fn s3(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, StartError> {
    Err(StartError::refused(
        format!("this program was built without S3 support, but ARTIFACTS_S3_BUCKET is {}", bucket.name),
        "use the default build of `ks-server`, or set ARTIFACTS_DIR instead",
    ))
}
