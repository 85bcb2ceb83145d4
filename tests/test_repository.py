"""The repository is self-contained, and its dependency lists agree with its code."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest

import decomr_core
from tests.test_import_rule import ROOT, imported_modules, python_files

OURS = {'benchmarks', 'decomr', 'decomr_core', 'decomr_ros', 'training', 'tests', 'tools'} | {
    path.stem for path in (ROOT / 'tests').rglob('*.py')
}
# Python module -> rosdep key, where the key is not the module's own name.
ROSDEP_KEYS = {
    'cv2': 'python3-opencv',
    'hypothesis': 'python3-hypothesis',
    'matplotlib': 'python3-matplotlib',
    'mcap': 'mcap-ros2-support',
    'numpy': 'python3-numpy',
    'onnxruntime': 'python3-onnxruntime-pip',
    'pytest': 'python3-pytest',
    'rosbags': 'python3-rosbags-pip',
    'scipy': 'python3-scipy',
    'tf2_ros': 'tf2_ros_py',
    'torch': 'python3-torch',
    'tqdm': 'python3-tqdm',
    'trimesh': 'python3-trimesh-pip',
    'yaml': 'python3-yaml',
}
WITHOUT_ROSDEP_KEY = {
    'cuda',
    'moveit_configs_utils',  # of a robot that has MoveIt; decomr does not install it
    'openvino',
    'safetensors',
    'smplx',
    'tensorrt',
    'viser',
    'websockets',
    'yolo_msgs',
}
# Keys that no Python import shows: tools of the build, and what a launch file starts.
KEYS_WITHOUT_IMPORT = {
    'ament_cmake',
    'ament_cmake_python',
    'rosidl_default_generators',
    'rosidl_default_runtime',
    'rviz2',
}
# Python module -> name on the package index, where they differ.
DISTRIBUTIONS = {
    'PIL': 'pillow',
    'cuda': 'cuda-python',
    'cv2': 'opencv-python-headless',
    'lightning_fabric': 'lightning-fabric',
    'yaml': 'pyyaml',
}
FROM_ROS = {
    'ament_index_python',
    'builtin_interfaces',
    'cv_bridge',
    'diagnostic_msgs',
    'geometry_msgs',
    'hri_msgs',
    'launch',
    'launch_ros',
    'launch_testing',
    'lifecycle_msgs',
    'rcl_interfaces',
    'rclpy',
    'rosgraph_msgs',
    'sensor_msgs',
    'std_msgs',
    'tf2_msgs',
    'tf2_ros',
    'vision_msgs',
    'visualization_msgs',
    'yolo_msgs',
}
FOREIGN_PATH = re.compile(r'(?<![\w.-])/(?:root|home/\w+|work)/|\.\./share[d]')
MAX_WEIGHTS_BYTES = 24 * 2**20


def tracked_files() -> list[Path]:
    """Every file under version control, or every file where there is no git checkout."""
    listed = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split('\0') if listed.returncode == 0 else []
    paths = [ROOT / name for name in names if name] or list(ROOT.rglob('*'))
    skipped = {'.venv', '.git', 'build', 'install', 'log'}
    return [
        path
        for path in paths
        if path.is_file() and not skipped & set(path.relative_to(ROOT).parts)
    ]


def third_party_imports(*folders: str) -> set[str]:
    """Top-level third-party modules that the folders import."""
    modules = {
        name.split('.')[0] for path in python_files(*folders) for name in imported_modules(path)
    }
    return modules - OURS - set(sys.stdlib_module_names)


def package_keys() -> set[str]:
    """The rosdep keys of package.xml."""
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    return {child.text for child in root if child.tag.endswith('depend')}


def requirement_names(*files: str) -> set[str]:
    """Names in requirement files, as the package index writes them."""
    lines = [
        line
        for name in files
        for line in (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    ]
    return {
        re.split(r'[=<> ;\[]', line)[0].lower().replace('_', '-')
        for line in lines
        if line and not line.startswith('#')
    }


def test_nothing_names_a_path_outside_the_repository() -> None:
    texts = {path: path.read_bytes() for path in tracked_files()}
    found = {
        f'{path.relative_to(ROOT)}: {match[0]}'
        for path, data in texts.items()
        if b'\0' not in data
        for match in FOREIGN_PATH.finditer(data.decode('utf-8', 'replace'))
    }
    assert found == set()


@pytest.mark.parametrize(
    ('start', 'end'),
    [('open("/', 'home/me/x")'), ("Path('/", "root/x')"), ('../', 'shared/facts.md')],
)
def test_a_path_outside_the_repository_is_detected(start: str, end: str) -> None:
    assert FOREIGN_PATH.search(start + end)  # in parts, or this file would name such places
    assert not FOREIGN_PATH.search('docs/home/page, https://example.org/work/x')


def test_package_xml_names_everything_that_is_imported() -> None:
    used = third_party_imports('decomr_core', 'decomr_ros', 'launch', 'tests') - {
        'jsonargparse',
        'onnx',
        'tensorrt_bindings',
    }
    needed = {ROSDEP_KEYS.get(name, name) for name in used - WITHOUT_ROSDEP_KEY}
    assert needed - package_keys() == set(), 'add the keys to package.xml'


def test_package_xml_names_nothing_that_is_not_used() -> None:
    used = third_party_imports('decomr_core', 'decomr_ros', 'launch', 'tests') | {
        'geometry_msgs',
        'std_msgs',
    }  # the messages in msg/ hold theirs
    assert package_keys() - {ROSDEP_KEYS.get(name, name) for name in used} == KEYS_WITHOUT_IMPORT


def test_the_requirements_name_everything_that_is_imported() -> None:
    used = {
        DISTRIBUTIONS.get(name, name)
        for name in third_party_imports('decomr_core', 'decomr_ros') - FROM_ROS
    }
    assert used - requirement_names('runtime', 'export', 'tensorrt', 'view') == set()
    used = {
        DISTRIBUTIONS.get(name, name)
        for name in third_party_imports('training', 'tests', 'tools') - FROM_ROS
    }
    assert (
        used
        - requirement_names('runtime', 'export', 'view', 'training', 'datasets', 'dev', 'bake')
        == set()
    )


def test_every_requirement_is_pinned_to_one_version() -> None:
    pins = [
        line
        for line in (ROOT / 'requirements/constraints.txt').read_text().splitlines()
        if line and not line.startswith('#')
    ]
    assert all(
        re.match(r'[\w.-]+==[\w.]+( ; python_version (<|>=) \'3\.11\')?$', pin) for pin in pins
    )
    direct = requirement_names(
        'runtime', 'export', 'view', 'training', 'datasets', 'dev', 'build', 'bake'
    )
    assert direct - requirement_names('constraints') == set()


def test_the_version_is_the_same_everywhere() -> None:
    package = ElementTree.parse(ROOT / 'package.xml').getroot().findtext('version')
    newest = re.search(r'^## (\d+\.\d+\.\d+)', (ROOT / 'CHANGELOG.md').read_text(), re.M)
    assert newest is not None
    assert {package, newest[1]} == {decomr_core.__version__}


def test_cmake_builds_every_message() -> None:
    text = (ROOT / 'CMakeLists.txt').read_text()
    messages = {f'msg/{path.name}' for path in (ROOT / 'msg').glob('*.msg')}
    assert messages == set(re.findall(r'msg/\w+\.msg', text)) != set()


def test_the_shipped_weights_are_small_enough_to_ship() -> None:
    weights = list((ROOT / 'decomr_core' / 'data').glob('*.safetensors'))
    assert weights, 'the package ships no trained network'
    assert all(path.stat().st_size <= MAX_WEIGHTS_BYTES for path in weights)


def test_each_page_states_where_its_commands_run() -> None:
    # With colcon it is the system's python3, outside of the virtual environment.
    for page in (ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')):
        text = page.read_text('utf-8')
        bare = re.findall(r'^ {4,}((?:decomr|python -m) .*)$', text, re.M)
        assert not bare or '`scripts/with-env CMD`' in text, f'{page.name}: {bare[0]}'


def test_no_two_test_files_have_the_same_name() -> None:
    names = Counter(path.name for path in (ROOT / 'tests').rglob('test_*.py'))
    assert [name for name, count in names.items() if count > 1] == []


def test_the_fast_dds_profile_holds_the_largest_image() -> None:
    space = {'dds': 'http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles'}
    root = ElementTree.parse(ROOT / 'config/node/fastdds.xml').getroot()
    transports = {
        item.findtext('dds:type', namespaces=space): item
        for item in root.iterfind('.//dds:transport_descriptor', space)
    }
    assert set(transports) == {'SHM', 'UDPv4'}
    largest = 1080 * 1920 * 3
    shared = transports['SHM']
    assert int(shared.findtext('dds:maxMessageSize', namespaces=space)) > largest
    assert int(shared.findtext('dds:segment_size', namespaces=space)) > 4 * largest
    used = {item.text for item in root.iterfind('.//dds:userTransports/dds:transport_id', space)}
    assert used == {
        item.findtext('dds:transport_id', namespaces=space) for item in transports.values()
    }


def test_every_relative_link_of_the_pages_is_valid() -> None:
    pages = [path for path in tracked_files() if path.suffix == '.md']
    broken = [
        f'{page.relative_to(ROOT)}: {link}'
        for page in pages
        for link in re.findall(r'\]\(([^)#:\s]+)(?:#[^)]*)?\)', page.read_text('utf-8'))
        if not (page.parent / link).exists()
    ]
    assert broken == []


def test_package_xml_names_every_licence_file_of_the_assets() -> None:
    named = {
        tag.get('file'): tag.text
        for tag in ElementTree.parse(ROOT / 'package.xml').getroot().iter('license')
    }
    assets = {
        str(path.relative_to(ROOT)) for path in (ROOT / 'decomr_core/data').glob('*.LICENSE.txt')
    }
    assert set(named) == {'LICENSE', *assets}
    words = {'Apache-2.0': 'Apache License', 'CC0-1.0': 'CC0 1.0'}
    for path, licence in named.items():
        assert words[licence] in ' '.join((ROOT / path).read_text().split())


def test_the_quality_declaration_names_a_level_and_existing_files() -> None:
    text = (ROOT / 'QUALITY_DECLARATION.md').read_text()
    assert re.search(r'Quality Level [1-5]', text) and 'REP-2004' in text
    links = re.findall(r'\]\((?!http)([^)#]+)', text)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
