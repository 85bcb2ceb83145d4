"""Installs `decomr_core` with pip, without ROS: `pip install .[openvino]`.

Exact versions are in requirements/constraints.txt. The ROS package of this folder is built by
colcon from package.xml and CMakeLists.txt, which do not use this file.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'decomr_core/__init__.py').read_text())[1]

setup(
    name='decomr',
    version=VERSION,
    description='Human meshes and IUV images from camera images, in real time (DecoMR).',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    keywords=['human mesh recovery', 'human pose', 'UV map', 'robotics', 'ROS 2'],
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3 :: Only',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    packages=find_packages(include=['decomr_core', 'decomr_core.*']),
    package_data={'decomr_core': ['data/*', 'py.typed']},
    entry_points={'console_scripts': ['decomr = decomr_core.cli:main']},
    install_requires=[
        'numpy>=1.23',
        'opencv-python-headless>=4.8,<5',
        'safetensors>=0.4',
        'scipy>=1.10',
        'smplx>=0.1.28',
        'torch>=2.4',
        'tqdm>=4.60',
    ],
    extras_require={
        # Both run a model that is exported from the weights at the first start, by way of ONNX.
        'openvino': ['onnx>=1.16', 'openvino>=2025.0'],
        'onnxruntime': ['onnx>=1.16', 'onnxruntime>=1.18'],
        'export': ['onnx>=1.16', 'onnxscript>=0.2', 'onnxruntime>=1.18', 'openvino>=2025.0'],
        'tensorrt': ['tensorrt>=10.3', 'cuda-python>=12.6.2'],
        'plots': ['matplotlib>=3.8'],
        'bake': ['anny>=0.6', 'tflite>=2.18'],
        'datasets': ['h5py>=3.8'],
        'training': [
            'jsonargparse>=4.30',
            'lightning-fabric>=2.4',
            'matplotlib>=3.8',
            'PyYAML>=6',
            'tensorboard>=2.14',
        ],
        'view': ['viser>=1.0'],
        'dev': [
            'coverage>=7.10',
            'hypothesis>=6.100',
            'pytest>=8',
            'pytest-xdist>=3.6',
            'ruff>=0.6',
        ],
    },
)
