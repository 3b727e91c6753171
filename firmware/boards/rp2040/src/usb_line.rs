//! A USB serial port as `embedded-io` sees it.

use core::convert::Infallible;

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use usb_device::bus::{UsbBus, UsbBusAllocator};
use usb_device::device::{StringDescriptors, UsbDevice, UsbDeviceBuilder, UsbVidPid};
use usbd_serial::{SerialPort, USB_CLASS_CDC};

/// Vendor and product of pid.codes' numbers for tests and private use; `gazed` and the udev rule
/// know the port by its product name.
const VID_PID: UsbVidPid = UsbVidPid(0x1209, 0x0001);

/// A full-speed packet.
const PACKET_BYTES: usize = 64;

/// The port and bytes that have come.
pub struct UsbLine<'a, B: UsbBus> {
    port: SerialPort<'a, B>,
    device: UsbDevice<'a, B>,
    packet: [u8; PACKET_BYTES],
    /// The part of `packet` that nobody has read.
    unread: core::ops::Range<usize>,
}

impl<'a, B: UsbBus> UsbLine<'a, B> {
    /// A port on `bus`; none when its description does not fit, which it does.
    pub fn new(bus: &'a UsbBusAllocator<B>) -> Option<Self> {
        let port = SerialPort::new(bus);
        let words = StringDescriptors::default()
            .manufacturer("gazed")
            .product("gazed board")
            .serial_number("1");
        let device = UsbDeviceBuilder::new(bus, VID_PID)
            .strings(&[words])
            .ok()?
            .max_packet_size_0(PACKET_BYTES as u8)
            .ok()?
            .device_class(USB_CLASS_CDC)
            .build();
        Some(UsbLine {
            port,
            device,
            packet: [0; PACKET_BYTES],
            unread: 0..0,
        })
    }
}

impl<B: UsbBus> ErrorType for UsbLine<'_, B> {
    type Error = Infallible;
}

impl<B: UsbBus> ReadReady for UsbLine<'_, B> {
    /// Also lets the USB device do its work: the board asks in every turn.
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        self.device.poll(&mut [&mut self.port]);
        if self.unread.is_empty() {
            // An error is a port without bytes.
            self.unread = 0..self.port.read(&mut self.packet).unwrap_or(0);
        }
        Ok(!self.unread.is_empty())
    }
}

impl<B: UsbBus> Read for UsbLine<'_, B> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let unread = self.packet.get(self.unread.clone()).unwrap_or(&[]);
        let n = bytes.len().min(unread.len());
        for (byte, read) in bytes.iter_mut().zip(unread) {
            *byte = *read;
        }
        self.unread.start += n;
        Ok(n)
    }
}

impl<B: UsbBus> WriteReady for UsbLine<'_, B> {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(true)
    }
}

impl<B: UsbBus> Write for UsbLine<'_, B> {
    /// Takes nothing while the host does not read.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let n = self.port.write(bytes).unwrap_or(0);
        let _ = self.port.flush();
        Ok(n)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
