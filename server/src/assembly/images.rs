//! Where firmware images are kept: a folder, or a bucket.

use std::sync::Arc;

use object_store::{ObjectStore, local::LocalFileSystem};

use crate::{
    artifacts::Artifacts,
    config::{ArtifactPlace, Bucket, Config},
    failure::StartError,
};

/// Where firmware images are kept; a folder is made when it is missing.
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

/// A bucket. Nothing is asked of it yet: a store that is down must not keep devices from beating.
#[cfg(feature = "s3")]
fn s3(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, StartError> {
    use object_store::aws::AmazonS3Builder;
    // Whoever was first has chosen the same.
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
        StartError::Refused(
            format!("the bucket {}: {error}", bucket.name),
            "set S3_ENDPOINT and S3_REGION to where it is",
        )
    })?;
    Ok(Arc::new(built))
}

#[cfg(not(feature = "s3"))]
fn s3(bucket: &Bucket) -> Result<Arc<dyn ObjectStore>, StartError> {
    Err(StartError::Refused(
        format!("this program was built without S3, and ARTIFACTS_S3_BUCKET is {}", bucket.name),
        "use `ks-server` as it is built by default, or set ARTIFACTS_DIR",
    ))
}
