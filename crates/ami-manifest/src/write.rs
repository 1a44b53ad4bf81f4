//! Writes manifests of version 2007-10-10, byte for byte as the older suite does: one line, no white space, single quotes.

use std::fmt::{self, Display, Write};

use crate::error::Error;
use crate::keys::PrivateKey;
use crate::model::{Image, MachineConfiguration, Manifest};

impl Manifest {
    /// The manifest's text, signed with `key`. Always in version 2007-10-10, whatever version it was read from.
    ///
    /// # Errors
    /// [`Error::ControlCharacter`] for text that XML cannot contain; [`Error::OpenSsl`].
    pub fn to_signed_xml(&self, key: &PrivateKey) -> Result<Vec<u8>, Error> {
        self.refuse_control_characters()?;
        let machine = Text::of(|text| text.machine_configuration(&self.machine));
        let image = Text::of(|text| text.image(&self.image));
        let signature = key.sign([machine.as_bytes(), image.as_bytes()].concat().as_slice())?;
        let whole = Text::of(|text| {
            text.0.push_str("<?xml version='1.0'?>");
            text.element("manifest", |text| {
                text.leaf("version", "2007-10-10");
                text.element("bundler", |text| {
                    text.leaf("name", &self.bundler.name);
                    text.leaf("version", &self.bundler.version);
                    text.leaf("release", &self.bundler.release);
                });
                text.0.push_str(&machine);
                text.0.push_str(&image);
                text.leaf("signature", hex::encode(&signature));
            });
        });
        Ok(whole.into_bytes())
    }

    fn refuse_control_characters(&self) -> Result<(), Error> {
        let machine = &self.machine;
        let image = &self.image;
        let mapping = machine.block_device_mapping.iter();
        let texts = [
            ("bundler", &self.bundler.name),
            ("bundler", &self.bundler.version),
            ("bundler", &self.bundler.release),
            ("architecture", &machine.architecture),
            ("name", &image.name),
            ("user", &image.user),
            ("type", &image.image_type),
        ];
        let all = texts
            .into_iter()
            .chain(machine.kernel_id.iter().map(|text| ("kernel_id", text)))
            .chain(machine.ramdisk_id.iter().map(|text| ("ramdisk_id", text)))
            .chain(
                machine
                    .product_codes
                    .iter()
                    .map(|text| ("product_code", text)),
            )
            .chain(mapping.flat_map(|(name, device)| [("virtual", name), ("device", device)]))
            .chain(image.kernel_name.iter().map(|text| ("kernel_name", text)))
            .chain(image.ancestry.iter().map(|text| ("ancestor_ami_id", text)))
            .chain(image.parts.iter().map(|part| ("filename", &part.filename)));
        for (element, text) in all {
            if let Some(character) = text.chars().find(|&c| !is_xml_character(c)) {
                return Err(Error::ControlCharacter { element, character });
            }
        }
        Ok(())
    }
}

/// XML 1.0, production 2, `Char`. A carriage return is refused, because it would be read back as a newline.
fn is_xml_character(c: char) -> bool {
    matches!(c, '\t' | '\n' | ' '..='\u{fffd}' | '\u{10000}'..)
}

/// XML text that is being written.
struct Text(String);

impl Text {
    fn of(write: impl FnOnce(&mut Self)) -> String {
        let mut text = Self(String::new());
        write(&mut text);
        text.0
    }

    fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.element_with(name, "", content);
    }

    /// `attribute` is the blank, the name and the quoted value.
    fn element_with(&mut self, name: &str, attribute: &str, content: impl FnOnce(&mut Self)) {
        self.push(format_args!("<{name}{attribute}>"));
        content(self);
        self.push(format_args!("</{name}>"));
    }

    fn leaf(&mut self, name: &str, value: impl Display) {
        self.leaf_with(name, "", value);
    }

    fn leaf_with(&mut self, name: &str, attribute: &str, value: impl Display) {
        self.element_with(name, attribute, |text| text.escaped(&value.to_string()));
    }

    fn list(&mut self, name: &str, item: &str, values: &[String]) {
        if values.is_empty() {
            return;
        }
        self.element(name, |text| {
            for value in values {
                text.leaf(item, value);
            }
        });
    }

    fn push(&mut self, arguments: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(arguments);
    }

    fn escaped(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&apos;"),
                _ => self.0.push(character),
            }
        }
    }

    fn machine_configuration(&mut self, machine: &MachineConfiguration) {
        self.element("machine_configuration", |text| {
            text.leaf("architecture", &machine.architecture);
            if !machine.block_device_mapping.is_empty() {
                text.element("block_device_mapping", |text| {
                    for (virtual_name, device) in &machine.block_device_mapping {
                        text.element("mapping", |text| {
                            text.leaf("virtual", virtual_name);
                            text.leaf("device", device);
                        });
                    }
                });
            }
            if let Some(kernel) = &machine.kernel_id {
                text.leaf("kernel_id", kernel);
            }
            if let Some(ramdisk) = &machine.ramdisk_id {
                text.leaf("ramdisk_id", ramdisk);
            }
            text.list("product_codes", "product_code", &machine.product_codes);
        });
    }

    fn image(&mut self, image: &Image) {
        const SHA1: &str = " algorithm='SHA1'";
        const AES: &str = " algorithm='AES-128-CBC'";
        self.element("image", |text| {
            text.leaf("name", &image.name);
            text.leaf("user", &image.user);
            // EC2 requires this position.
            text.leaf("type", &image.image_type);
            if let Some(name) = &image.kernel_name {
                text.leaf("kernel_name", name);
            }
            text.list("ancestry", "ancestor_ami_id", &image.ancestry);
            text.leaf_with("digest", SHA1, image.digest);
            text.leaf("size", image.size);
            text.leaf("bundled_size", image.bundled_size);
            text.leaf_with("ec2_encrypted_key", AES, hex::encode(&image.ec2_key.key));
            text.leaf_with("user_encrypted_key", AES, hex::encode(&image.user_key.key));
            text.leaf("ec2_encrypted_iv", hex::encode(&image.ec2_key.iv));
            text.leaf("user_encrypted_iv", hex::encode(&image.user_key.iv));
            let count = format!(" count='{}'", image.parts.len());
            text.element_with("parts", &count, |text| {
                for (index, part) in image.parts.iter().enumerate() {
                    text.element_with("part", &format!(" index='{index}'"), |text| {
                        text.leaf("filename", &part.filename);
                        text.leaf_with("digest", SHA1, part.digest);
                    });
                }
            });
        });
    }
}
