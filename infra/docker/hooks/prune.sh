#!/bin/sh
# Remove from installed packages what no pod uses: `prune.sh SITE_PACKAGES cpu|cuda|server`. Each line says what it is;
# sizes are those of the CPU image without bytecode. Licence texts and metadata of every package stay.
set -eu
cd "$1"
kind=$2

# tests that packages ship (70 MB); numpy.testing, pandas.testing and torch.testing are no tests and stay
find . -type d \( -name tests -o -name test \) \
    \( -path './pandas/*' -o -path './scipy/*' -o -path './sklearn/*' -o -path './numpy/*' -o -path './sympy/*' \
    -o -path './networkx/*' -o -path './spacy/*' -o -path './thinc/*' -o -path './blis/*' -o -path './pyarrow/*' \
    -o -path './matplotlib/*' -o -path './prov/*' -o -path './nltk/*' -o -path './websocket/*' -o -path './weasel/*' \
    -o -path './wasabi/*' -o -path './srsly/*' -o -path './preshed/*' -o -path './cymem/*' -o -path './murmurhash/*' \) \
    -prune -exec rm -rf {} +
# sources and headers for building extensions: there is no compiler. thinc reads its .cu files when it is imported.
find . -type f \( -name '*.pyx' -o -name '*.pxd' -o -name '*.cpp' -o -name '*.c' -o -name '*.h' -o -name '*.hpp' \
    -o -name '*.a' -o -name '*.pyi' \) -delete
rm -rf pyarrow/include pyarrow/src
# Arrow's RPC server (31 MB), and second names of one library that a wheel holds as copies
rm -f pyarrow/libarrow_flight.so.* pyarrow/libarrow_python_flight.so* pyarrow/_flight.* pyarrow/libarrow_python.so.*.*
# torch: its own test programs, headers, protoc and CMake files (190 MB). torch_shm_manager shares tensors between processes.
if [ -d torch ]; then
    rm -rf torch/test torch/include torch/share
    find torch/bin -type f ! -name torch_shm_manager -delete 2>/dev/null || true
fi
# bitsandbytes has one library for each of 17 accelerators (120 MB): the CPU's, and CUDA 13's where torch has that
keep=libbitsandbytes_cpu.so
[ "$kind" = cuda ] && keep_cuda='libbitsandbytes_cuda13*.so' || keep_cuda=none
[ ! -d bitsandbytes ] || find bitsandbytes -name 'libbitsandbytes_*.so' ! -name "$keep" ! -name "$keep_cuda" -delete
# phone numbers: which town, carrier and time zone a number belongs to (23 MB); recognising one needs none of it
rm -rf phonenumbers/geodata phonenumbers/carrierdata phonenumbers/tzdata
# TensorBoard's own data server, for its page (20 MB); writing curves needs none of it
rm -rf tensorboard_data_server/bin
# AWS's description of 400 services (25 MB), but for those that a store and its credentials use
if [ -d botocore/data ]; then
    find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin \
        ! -name iam ! -name ecr ! -name eks ! -name secretsmanager ! -name kms -exec rm -rf {} +
fi
# pages of the two servers (39 MB): the server image shows them
[ "$kind" = server ] || rm -rf mlflow/server/js/build zenml/zen_server/dashboard
